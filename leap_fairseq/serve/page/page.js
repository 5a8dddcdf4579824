// Ties the parts of the page together: a source of speech, the connection, the words and the picture.

import { Connection } from "./connection.js";
import { addFields, asked } from "./policy.js";
import { FileSource, MicrophoneSource } from "./sources.js";
import { Staircase } from "./staircase.js";
import { asSubtitles, asText, copy, save, secondsBehind } from "./transcript.js";

const LEVELS_PER_SECOND = 50;

const find = (id) => document.getElementById(id);
const staircase = new Staircase(find("staircase"));
let written = [];

/** Enters a state (idle, starting, listening, finishing, finished or error) and tells it in a line. */
function show(state, text) {
  const running = ["starting", "listening", "finishing"].includes(state);
  document.body.dataset.state = state;
  document.body.classList.toggle("running", running);
  find("state").textContent = text;
  find("microphone").disabled = find("example").disabled = find("file").disabled = find("options").disabled = running;
  find("stop").disabled = state !== "listening";
  find("saves").hidden = running || !written.length;
}

const inState = (state) => document.body.dataset.state === state;

function clear() {
  find("words").replaceChildren();
  find("copied").textContent = "";
  written = [];
  staircase.clear();
}

function write(words) {
  const box = find("words");
  for (const word of words) {
    if (!written.length || word.sentence !== written.at(-1).sentence) box.append(document.createElement("p"));
    const text = status.unit === "spm" ? word.text.replaceAll("\u2581", " ") : word.text;
    written.push({ ...word, text });
    const span = document.createElement("span");
    span.textContent = text;
    span.title = `${(word.delay / 1000).toFixed(2)} s`;
    box.lastChild.append(span, separator);
  }
  box.scrollTop = box.scrollHeight;
}

function summary() {
  const count = written.length;
  const units = `${count} ${status.unit === "word" ? "word" : "unit"}${count === 1 ? "" : "s"}`;
  // Over several sentences, with pauses between them, an even pace says nothing.
  const lag = count && !status.long_form ? `, ${secondsBehind(written, staircase.heard * 1000).toFixed(1)} s behind` : "";
  return `${staircase.heard.toFixed(1)} s heard, ${units}${lag}`;
}

/** Tells the picture how loud a piece is. */
function measure(pcm, { sampleRate, channels }) {
  const size = Math.round(sampleRate / LEVELS_PER_SECOND) * channels;
  for (let first = 0; first < pcm.length; first += size) {
    const part = pcm.subarray(first, first + size);
    const squares = part.reduce((sum, sample) => sum + sample * sample, 0);
    staircase.level(Math.sqrt(squares / part.length) / 32768, part.length / channels / sampleRate);
  }
}

/** What is left of a source whose translation ended before it. */
function leftOut(source) {
  if (!inState("listening")) return "";
  const left = source.secondsLeft;
  const rest = left === undefined ? "What is said from here on" : `The rest of the recording, ${left.toFixed(1)} s,`;
  return `${rest} is not translated: this model translates one sentence; leap-fairseq serve --long-form goes on.`;
}

function tellPolicy({ policy, decision_ms }) {
  find("policy").textContent = `${policy}, a decision every ${decision_ms} ms of speech`;
}

/** Sends a source to the server and shows what comes; resolves to what was left out. */
async function listen(source) {
  const onWords = (words, heard) => {
    write(words);
    staircase.add(words, heard);
    const waiting = connection.seconds - heard / 1000;
    const late = waiting > 0.5 ? `; computing is ${waiting.toFixed(1)} s late` : "";
    show(document.body.dataset.state, `Listening: ${summary()}${late}`);
  };
  tellPolicy(status);
  const connection = await Connection.open(source, asked(find("options")), { onWords, onPolicy: tellPolicy });
  find("stop").onclick = () => source.stop();
  show("listening", "Listening ...");
  const send = (pcm) => {
    connection.send(pcm);
    measure(pcm, source);
  };
  source.run(send, () => connection.waitingBytes).then(() => {
    if (inState("listening")) show("finishing", find("state").textContent);
    connection.finish();
  });
  const { error, notice } = await connection.ended;
  connection.close();
  if (error) throw new Error(error);
  return notice ?? leftOut(source);
}

/** Runs a session, from the opening of its source to its end. */
async function run(open) {
  clear();
  show("starting", "Starting ...");
  let source;
  try {
    source = await open();
    const notice = await listen(source);
    show("finished", `Finished: ${summary()}${notice && ". "}${notice}`);
  } catch (error) {
    show("error", `Ended: ${error.message}`);
  }
  source?.stop();
  staircase.finish();
}

const openFile = (file) => FileSource.open(file, { fast: find("fast").checked, audible: find("audible").checked });

find("microphone").onclick = () => run(() => MicrophoneSource.open());
find("example").onclick = () => run(async () => openFile(new File([await (await fetch("example")).blob()], "example")));
find("file").onchange = () => {
  const [file] = find("file").files;
  if (file) run(() => openFile(file));
};
// The same file again is a change too.
find("file").onclick = () => (find("file").value = "");
find("txt").onclick = () => save(asText(written, separator, status.long_form), "translation.txt", "text/plain");
find("srt").onclick = () =>
  save(asSubtitles(written, separator, staircase.heard * 1000), "translation.srt", "application/x-subrip");

find("copy").onclick = () =>
  copy(asText(written, separator, status.long_form)).then(
    () => (find("copied").textContent = "Copied."),
    (error) => (find("copied").textContent = error.message),
  );

const status = await (await fetch("status")).json();
const separator = status.unit === "word" ? " " : "";
find("words").lang = status.language;
find("example").hidden = find("about").hidden = !status.example;
addFields(find("options"), status.policy_options);
tellPolicy(status);
