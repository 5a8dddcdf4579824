// What was written, for files and the clipboard: the lines of `leap-fairseq translate`, and subtitles. A word has a text, its delay in ms and
// the number of its sentence.

const LONGEST = 84; // characters of a subtitle, which players break into two lines
const SHORTEST = 1000; // ms

/** Lines of a time in seconds and a word, or a sentence: what of the speech had been heard when it was begun. */
export function asText(words, separator, bySentence) {
  const line = (part) => `${(part[0].delay / 1000).toFixed(2).padStart(8)}  ${joined(part, separator)}\n`;
  return parts(words, (part, word) => bySentence && word.sentence === part[0].sentence).map(line).join("");
}

/** SRT: a subtitle is there from its first word on, to the next one or to the end of the speech, in ms. */
export function asSubtitles(words, separator, end) {
  const fits = (part, word) =>
    word.sentence === part[0].sentence && joined([...part, word], separator).length <= LONGEST;
  const found = parts(words, fits);
  const times = [];
  for (const [{ delay }] of found) times.push(Math.max(delay, times.length ? times.at(-1) + SHORTEST : 0));
  times.push(Math.max(end, times.at(-1) + SHORTEST));
  const subtitle = (part, index) =>
    `${index + 1}\n${clock(times[index])} --> ${clock(times[index + 1])}\n${joined(part, separator)}\n\n`;
  return found.map(subtitle).join("");
}

/** Seconds that the words come behind a translation which is spread evenly over the speech, so many ms: average lagging
 * (LAAL), with what was written as its reference. Words after the first one that has heard all speech do not count. */
export function secondsBehind(words, heard) {
  const last = words.findIndex(({ delay }) => delay > heard - 1);
  const counted = last < 0 ? words : words.slice(0, last + 1);
  const sum = counted.reduce((total, { delay }, index) => total + delay - (index * heard) / words.length, 0);
  return counted.length ? sum / counted.length / 1000 : 0;
}

/** Offers a text as a file. */
export function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Copies a text; rejects with what to do instead where the browser does not let it. */
export async function copy(text) {
  const clipboard = globalThis.navigator?.clipboard;
  if (!clipboard) throw new Error("Browsers give the clipboard to https pages and to localhost only; saving works here.");
  await clipboard.writeText(text).catch((cause) => {
    throw new Error(`The browser does not let the page copy (${cause.message}); saving works here.`, { cause });
  });
}

function parts(words, belongs) {
  const found = [];
  for (const word of words) {
    if (found.length && belongs(found.at(-1), word)) found.at(-1).push(word);
    else found.push([word]);
  }
  return found;
}

const joined = (part, separator) => part.map(({ text }) => text).join(separator).trim();

const clock = (ms) => new Date(ms).toISOString().slice(11, 23).replace(".", ",");
