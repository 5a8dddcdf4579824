#!/usr/bin/env bash
# The main job from a bare clone: speech is made, prepared and translated while it is being spoken.
#
#   bash scripts/demo.sh
#
# Sets up .venv, makes a corpus of spoken travel phrases, trains three wait-k translators (LeaP as published, the linear
# attention that is recommended for quality, and softmax, each over a range of k), streams the test set through SimulEval
# by three wait-k and by a policy that writes what it is sure of, trains small language models, and writes tables and
# pictures to runs/demo. What is complete is reused, and an interrupted run goes on where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# With NODES of another work, a translator would wait for further machines.
unset PYTHONPATH PYTHONHOME PROCESSES NODES NODE

RUN=runs/demo
ATTENTIONS="leap contrast_fading softmax"   # with _fading, the weights of self-attention halve with age
WAITK_RANGE=1-12          # k of training, drawn anew for each batch
WAITK_TEST="1 4 12"       # k of evaluation
THRESHOLD=0.9             # of the policy of confidence
RATIO=4                   # encoder frames of 40 ms in one pre-decision
UPDATES=2000
LM_UPDATES=250
TEST_SENTENCES=50

bash scripts/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
# Idle threads that spin take the cores from those that work, by a factor of ten where something else runs too.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1

say() { printf '\n\033[1m[demo %s] %s\033[0m\n' "$(date +%T)" "$*"; }

# once NAME INPUT COMMAND...: runs a command whose results are complete when it ends well, unless the same one did since
# INPUT was written; "-" for none.
once() {
    local stamp="$RUN/.complete/$1" input=$2
    shift 2
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && ! [ "$input" -nt "$stamp" ]; then
        echo "complete already: ${stamp##*/}"
        return
    fi
    mkdir -p "$RUN/.complete"
    rm -f "$stamp"
    "$@"
    printf '%s' "$*" >"$stamp.part"
    mv "$stamp.part" "$stamp"
}

# train FOLDER INPUT COMMAND...: a command that trains into FOLDER, resumed if it is the one that FOLDER was begun with
# since INPUT was written.
train() {
    local folder=$1 input=$2
    shift 2
    if [ "$(cat "$folder/command" 2>/dev/null)" != "$*" ] || [ "$input" -nt "$folder/command" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        printf '%s' "$*" >"$folder/command"
    fi
    if [ -f "$folder/finished" ]; then
        echo "complete already: ${folder##*/}"
        return
    fi
    "$@" 2>&1 | tee -a "$folder/train.log" | progress "${folder##*/}"
    touch "$folder/finished"
}

# progress NAME: the lines of fairseq-train that say how far it is, shortened; and its errors.
progress() {
    sed -unE \
        -e "s/.*train_inner.* loss=([^,]+),.* ppl=([^,]+),.*num_updates=([0-9]+).*/$1, update \3: loss \1, perplexity \2/p" \
        -e "s/.*valid on.* loss ([0-9.]+) .*ppl ([0-9.]+) .*/$1, validation: loss \1, perplexity \2/p" \
        -e "/Error|error:/p"
}

# each FUNCTION: calls it for every attention at the same time, a thread each: more threads gain little on small models.
each() {
    local attention jobs=() job status=0
    for attention in $ATTENTIONS; do
        "$1" "$attention" & jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || status=$?
    done
    return "$status"
}

# fingerprint FILE: changes with what the file holds, so that what was made from it is made again.
fingerprint() { cksum <"$1" | cut -d' ' -f1; }

train_translator() {
    local kind=${1%_fading} options=()
    [ "$kind" = "$1" ] || options=(--encoder-attention-half-life 2-64 --decoder-attention-half-life 2-64)
    train "$RUN/translator-$1" "$RUN/data/train_st.tsv" env CUDA_VISIBLE_DEVICES= \
        bash scripts/simulst/train.sh "$RUN/data" "$RUN/translator-$1" --recipe small --max-update "$UPDATES" \
        --waitk-lagging "$WAITK_RANGE" --fixed-pre-decision-ratio "$RATIO" --encoder-visibility segment \
        --encoder-self-attention "$kind" --decoder-self-attention "$kind" --decoder-cross-attention "$kind" \
        ${options[@]+"${options[@]}"} --save-interval-updates 500 --keep-interval-updates 1
}

train_lm() {
    local kind=${1%_fading} options=()
    [ "$kind" = "$1" ] || options=(--attention-half-life 4-512 --no-token-positional-embeddings)
    train "$RUN/lm-$1" "$RUN/text/bin/train.bin" fairseq-train "$RUN/text/bin" --user-dir leap_fairseq \
        --save-dir "$RUN/lm-$1" --cpu --num-workers 0 --seed 1 --save-interval-updates 100 --keep-interval-updates 1 \
        --no-epoch-checkpoints --no-progress-bar --log-format simple --log-interval 50 --task leap_language_modeling \
        --tokens-per-sample 128 --batch-size 16 --required-batch-size-multiple 1 --arch leap_transformer_lm_tiny \
        --decoder-self-attention "$kind" ${options[@]+"${options[@]}"} \
        --optimizer adam --adam-betas '(0.9,0.98)' --clip-norm 1 --lr 2e-3 --lr-scheduler inverse_sqrt \
        --warmup-updates 50 --dropout 0.2 --max-update "$LM_UPDATES"
}

evaluate_lm() {
    fairseq-eval-lm "$RUN/text/bin" --user-dir leap_fairseq --task leap_language_modeling --gen-subset test --cpu \
        --path "$RUN/lm-$1/checkpoint_best.pt" --tokens-per-sample 128 --batch-size 8 --context-window 64 \
        --required-batch-size-multiple 1 2>&1 | tee "$RUN/lm-$1/eval.log" | grep -E 'Evaluated|Loss'
}

preprocess_text() {
    rm -rf "$RUN/text/bin"
    fairseq-preprocess --only-source --trainpref "$RUN/text/train.txt" --validpref "$RUN/text/valid.txt" \
        --testpref "$RUN/text/test.txt" --thresholdsrc 3 --destdir "$RUN/text/bin" 2>&1 | grep -E 'sents|Error'
}

# stream ATTENTION POLICY FINGERPRINT OPTIONS...: the test set by the policy of these options; the name is the folder's.
stream() {
    local out="$RUN/simuleval/$1-$2"
    rm -rf "$out"
    simuleval --agent-class leap_fairseq.agents.WaitkAgent \
        --model-path "$RUN/translator-$1/checkpoint_best.pt" --data-bin "$RUN/data" "${@:4}" \
        --source "$RUN/eval/tst-COMMON.wav_list" --target "$RUN/eval/tst-COMMON.target" --output "$out" \
        --source-segment-size $((RATIO * 40)) --quality-metrics BLEU --latency-metrics LAAL AL AP DAL \
        >"$out.log" 2>&1 || { tail -n 20 "$out.log"; return 1; }
    printf '%s attention, %s: ' "$1" "${*:4}"
    tail -n 1 "$out.log" | awk '{ printf "BLEU %.1f, LAAL %.0f ms\n", $1, $2 }'
}

mkdir -p "$RUN/simuleval"
say "1/6 the corpus: English-German travel phrases, voiced"
once corpus - python data_prep/make_travel_corpus.py "$RUN/corpus" --sentences-train 4000 --sentences-dev 100 \
    --sentences-test 100 --seed 1

say "2/6 features, vocabulary, manifests"
once data "$RUN/corpus/corpus.json" python data_prep/prep_mustc.py "$RUN/corpus" --tgt-lang de --task st \
    --vocab-size 300 --specaugment none --out "$RUN/data" -j 2
once eval "$RUN/corpus/corpus.json" python data_prep/make_eval_list.py "$RUN/corpus" --split tst-COMMON \
    --out "$RUN/eval" --limit "$TEST_SENTENCES"

say "3/6 three wait-k translators, with $ATTENTIONS attention: $UPDATES updates each, the longest step"
each train_translator

say "4/6 streaming through SimulEval"
stream_all() {
    local k model target="$RUN/eval/tst-COMMON.target"
    model=$(fingerprint "$RUN/translator-$1/checkpoint_best.pt")
    for k in $WAITK_TEST; do
        once "stream-$1-k$k" "$target" stream "$1" "k$k" "$model" --test-waitk-lagging "$k"
    done
    once "stream-$1-confidence" "$target" stream "$1" confidence "$model" --test-policy confidence \
        --test-threshold "$THRESHOLD"
}
each stream_all

say "5/6 a language model on the Python reference manual"
once text - python data_prep/make_pydoc_text.py "$RUN/text"
once text-bin "$RUN/text/train.txt" preprocess_text
each train_lm
for attention in $ATTENTIONS; do
    once "lm-$attention-eval" "$RUN/text/bin/test.bin" evaluate_lm "$attention" \
        "$(fingerprint "$RUN/lm-$attention/checkpoint_best.pt")"
done

say "6/6 the results"
python scripts/demo_report.py "$RUN"
