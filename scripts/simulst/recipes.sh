# Sourced by pretrain_asr.sh and train.sh: the options of fairseq-train, by recipe.
#
# official  the LeaPformer authors', for MuST-C on GPUs. Source: OSU-STARLAB/LeaPformer, leapformer-scripts/simulst,
#           asr_train.sh and st_train.sh. They do not say on how many GPUs; here an update has as many frames as
#           theirs on one, whatever the number of processes, or the script says how many.
# small     our own, for experiments in minutes on a CPU: the tiny sizes, and a learning rate that falls to zero at
#           --max-update.

# train_by_recipe TASK DATA SAVE_DIR OPTIONS...: fairseq-train with a recipe and the options of the user; TASK is asr or st.
# The targets are those of TASK, or of the --config-yaml among the options.
train_by_recipe() {
    [ -n "${2:-}" ] && [ -n "${3:-}" ] || { usage "$0" >&2; exit 2; }
    local task=$1 data=$2 save_dir=$3 texts=$1 name=official updates=3000 options=()
    shift 3
    while [ $# -gt 0 ]; do
        case $1 in
            --recipe) [ $# -gt 1 ] || fail "--recipe needs a name: official or small"; name=$2; shift 2 ;;
            --recipe=*) name=${1#*=}; shift ;;
            --config-yaml) [ $# -gt 1 ] || fail "--config-yaml needs a name: config_st.yaml or config_asr.yaml"
                choose_texts "$2"; options+=("$1" "$2"); shift 2 ;;
            --config-yaml=*) choose_texts "${1#*=}"; options+=("$1"); shift ;;
            --max-update) updates=${2:-}; options+=("$1"); shift ;;
            --max-update=*) updates=${1#*=}; options+=("$1"); shift ;;
            *) options+=("$1"); shift ;;
        esac
    done
    [ -f "$data/config_$texts.yaml" ] || fail "$data has no config_$texts.yaml: give the folder that leap-fairseq" \
        "prepare wrote with --task $texts or both$(other_texts)"
    choose_processes
    case $name in
        official) recipe_official "$task" ;;
        small) recipe_small "$updates" ;;
        *) fail "--recipe is '$name', but must be official or small" ;;
    esac
    RECIPE=(
        "$data" --user-dir "$PLUGIN" --save-dir "$save_dir" --task leap_speech_to_text
        --config-yaml "config_$texts.yaml"
        --train-subset "train_$texts" --valid-subset "dev_$texts" --criterion label_smoothed_cross_entropy
        --report-accuracy --optimizer adam --adam-betas '(0.9,0.98)' --ddp-backend legacy_ddp
        --required-batch-size-multiple 1 --log-format simple --log-interval 50 "${RECIPE[@]}"
    )
    train_in_processes "${RECIPE[@]}" ${options[@]+"${options[@]}"}
}

# choose_texts CONFIG: config_asr.yaml goes with train_asr and dev_asr; another name with the task's.
choose_texts() { case $1 in config_asr.yaml) texts=asr ;; config_st.yaml) texts=st ;; esac; }

other_texts() {
    [ "$texts" != st ] || [ ! -f "$data/config_asr.yaml" ] ||
        printf ', or train a recogniser: --config-yaml config_asr.yaml'
}

recipe_official() {
    local frames
    RECIPE=(
        --encoder-normalize-before --decoder-normalize-before --share-decoder-input-output-embed
        --encoder-attention-heads 8 --decoder-attention-heads 8
        --lr-scheduler inverse_sqrt --warmup-init-lr 0.0001 --clip-norm 10.0 --max-epoch 40 --num-workers 2
    )
    if [ "$1" = asr ]; then
        frames=30000
        RECIPE+=(--arch leap_convtransformer_espnet --attention-dropout 0.1 --activation-dropout 0.1
            --lr 0.00025 --warmup-updates 8000 --max-update 200000 --seed 1)
    else
        frames=45000
        RECIPE+=(--arch leap_convtransformer_simul_trans_espnet --waitk-lagging 5 --fixed-pre-decision-ratio 9
            --lr 0.00033 --warmup-updates 6000 --max-update 100000 --seed 2)
    fi
    if [ "$WORLD" -eq 1 ]; then
        RECIPE+=(--max-tokens "$frames" --update-freq 2)
    else
        share_frames $((2 * frames))
        RECIPE+=(--max-tokens "$FRAMES" --update-freq 1)
    fi
}

# share_frames UPDATE: sets FRAMES, of a batch of each process, so that an update has UPDATE of them; at least those of
# the longest utterance, for fairseq stops at one that is longer than a batch.
share_frames() {
    local longest
    longest=$(cat "$data/train_$texts.tsv" "$data/dev_$texts.tsv" 2>/dev/null | awk -F '\t' '
        $1 == "id" { for (i = 1; i <= NF; i++) if ($i == "n_frames") column = i; next }
        column && $column + 0 > most { most = $column + 0 } END { print most + 0 }') || true
    FRAMES=$(($1 / WORLD))
    [ "$FRAMES" -lt "$longest" ] || return 0
    FRAMES=$longest
    # Who gives them has chosen another size.
    [[ " ${options[*]-} " =~ \ --(max-tokens|batch-size|update-freq)[\ =] ]] ||
        note "an update has up to $((WORLD * FRAMES)) frames, not $1: each of $WORLD processes takes the longest utterance," \
            "of $longest frames"
}

recipe_small() {
    local arch=leap_convtransformer_simul_trans_tiny policy=(--waitk-lagging 5 --fixed-pre-decision-ratio 4)
    [ "$task" = st ] || arch=leap_convtransformer_tiny policy=()
    # fairseq takes 0 for no end, and the learning rate would be zero from the beginning.
    [[ $1 =~ ^[1-9][0-9]*$ ]] || fail "--max-update is '$1', but must be a number of at least 1"
    share_frames 5000
    RECIPE=(
        --arch "$arch" ${policy[@]+"${policy[@]}"} --label-smoothing 0.1 --dropout 0 --max-tokens "$FRAMES"
        --lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update "$1" --max-update "$1"
        --clip-norm 5 --seed 1 --num-workers 0 --save-interval-updates 100 --keep-interval-updates 5
        --no-epoch-checkpoints --no-progress-bar
    )
}
