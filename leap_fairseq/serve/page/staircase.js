// The picture: speech heard to the right, words written upwards. A flat stretch is reading, a rise is writing.

const SPANS = [10, 20, 30]; // seconds shown; then the picture slides
const EDGE = { left: 52, right: 16, top: 14, bottom: 66 };
const STRIP = 20; // height of the loudness below the axis
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

export class Staircase {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  clear() {
    Object.assign(this, { words: [], levels: [], heard: 0, sent: 0, finished: false });
    this.draw();
  }

  /** Takes words with their delays, and the speech that has been heard; in ms. */
  add(words, heard) {
    for (const { text, delay } of words) this.words.push({ text, time: delay / 1000 });
    this.heard = heard / 1000;
    this.draw();
  }

  /** Takes the loudness, 0 to 1, of the next piece of speech, and its length in seconds. */
  level(value, seconds) {
    this.levels.push({ value, from: this.sent, to: this.sent + seconds });
    this.sent += seconds;
  }

  /** Shows the whole recording. */
  finish() {
    this.finished = true;
    this.draw();
  }

  draw() {
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const paint = this.canvas.getContext("2d");
    paint.scale(ratio, ratio);
    paint.font = FONT;
    const style = getComputedStyle(this.canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const view = this.view(width, height);
    this.drawAxes(paint, view, colour);
    this.drawLevels(paint, view, colour);
    this.drawSteps(paint, view, colour);
    this.drawWords(paint, view, colour);
    if (this.finished) drawEnd(paint, view, colour, this.heard);
  }

  /** What is shown, and the functions x(seconds) and y(words) of the place on the canvas. */
  view(width, height) {
    const span = SPANS.find((seconds) => this.heard <= seconds) ?? SPANS.at(-1);
    let [from, to] = [Math.max(0, this.heard - span), Math.max(this.heard, span)];
    if (this.finished) [from, to] = [0, Math.max(1, this.heard * 1.03)];
    const before = this.words.filter(({ time }) => time < from).length;
    const rows = Math.max(6, this.words.length - before + 1);
    const right = width - EDGE.right;
    const bottom = height - EDGE.bottom;
    return {
      from,
      to,
      before,
      rows,
      right,
      bottom,
      row: (bottom - EDGE.top) / rows,
      x: (seconds) => EDGE.left + ((seconds - from) / (to - from)) * (right - EDGE.left),
      y: (words) => bottom - ((words - before) / rows) * (bottom - EDGE.top),
    };
  }

  drawAxes(paint, view, colour) {
    paint.fillStyle = colour("faint");
    paint.strokeStyle = colour("rule");
    paint.textBaseline = "middle";
    paint.textAlign = "right";
    for (const words of ticks(view.before, view.before + view.rows, 6)) {
      const y = Math.round(view.y(words)) + 0.5;
      line(paint, [EDGE.left, y], [view.right, y]);
      paint.fillText(words, EDGE.left - 8, y);
    }
    paint.textAlign = "center";
    for (const seconds of ticks(view.from, view.to, 10)) {
      paint.fillText(seconds, view.x(seconds), view.bottom + STRIP + 16);
    }
    paint.textAlign = "right";
    paint.fillText("speech heard (s)", view.right, view.bottom + STRIP + 36);
    paint.save();
    paint.translate(10, EDGE.top);
    paint.rotate(-Math.PI / 2);
    paint.fillText("words written", 0, 0);
    paint.restore();
  }

  drawLevels(paint, view, colour) {
    const middle = view.bottom + 4 + STRIP / 2;
    paint.fillStyle = colour("faint");
    paint.globalAlpha = 0.55;
    for (const { value, from, to } of this.levels) {
      const half = Math.max(0.5, (Math.sqrt(value) * STRIP) / 2);
      const width = Math.max(1, view.x(to) - view.x(from) - 0.5);
      if (from >= view.from && to <= view.to) paint.fillRect(view.x(from), middle - half, width, 2 * half);
    }
    paint.globalAlpha = 1;
  }

  drawSteps(paint, view, colour) {
    const corners = [[view.x(view.from), view.y(view.before)]];
    this.words.slice(view.before).forEach(({ time }, index) => {
      corners.push([view.x(time), view.y(view.before + index)], [view.x(time), view.y(view.before + index + 1)]);
    });
    corners.push([view.x(this.heard), view.y(this.words.length)]);
    paint.fillStyle = paint.strokeStyle = colour("line");
    paint.globalAlpha = 0.1;
    paint.beginPath();
    corners.forEach((corner) => paint.lineTo(...corner));
    paint.lineTo(view.x(this.heard), view.bottom);
    paint.lineTo(view.x(view.from), view.bottom);
    paint.fill();
    paint.globalAlpha = 1;
    paint.lineWidth = 2;
    line(paint, ...corners);
    paint.lineWidth = 1;
  }

  /** Writes each word left of its dot, where a staircase leaves room; some of them where rows are too low for all. */
  drawWords(paint, view, colour) {
    const each = Math.ceil(14 / view.row);
    this.words.slice(view.before).forEach(({ text, time }, index) => {
      const [x, y] = [view.x(time), view.y(view.before + index + 1)];
      paint.fillStyle = colour("line");
      paint.beginPath();
      paint.arc(x, y, 3.5, 0, 2 * Math.PI);
      paint.fill();
      if (index % each) return;
      const fits = x - EDGE.left > paint.measureText(text).width + 12;
      paint.textAlign = fits ? "right" : "left";
      paint.fillStyle = colour("ink");
      paint.fillText(text, x + (fits ? -8 : 8), y);
    });
  }
}

function drawEnd(paint, view, colour, heard) {
  paint.strokeStyle = paint.fillStyle = colour("mark");
  paint.setLineDash([5, 4]);
  line(paint, [view.x(heard), EDGE.top], [view.x(heard), view.bottom + STRIP + 6]);
  paint.setLineDash([]);
}

function line(paint, ...corners) {
  paint.beginPath();
  corners.forEach((corner) => paint.lineTo(...corner));
  paint.stroke();
}

/** Round numbers from one to another, about so many. */
function ticks(from, to, count) {
  const raw = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, power * [1, 2, 5, 10].find((factor) => factor * power >= raw));
  const numbers = [];
  for (let number = Math.ceil(from / step) * step; number <= to; number += step) numbers.push(number);
  return numbers;
}
