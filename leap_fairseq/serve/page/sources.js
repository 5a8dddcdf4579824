// Where speech comes from. A source has a sampleRate and channels; run(send) resolves when all pieces of interleaved
// 16-bit PCM have been sent, or after stop().

const PIECE_SECONDS = 0.1;
const MAX_WAITING_BYTES = 1 << 20;
const FLUSH_MS = 500;

const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** Sends a file at the speed of speech, or as fast as the server takes it. */
export class FileSource {
  static async open(file, { fast, audible }) {
    const context = new AudioContext();
    try {
      const sound = await context.decodeAudioData(await file.arrayBuffer());
      return new FileSource(context, sound, fast, audible);
    } catch (error) {
      context.close();
      throw new Error(`${file.name} cannot be decoded: choose a wav, mp3, ogg, flac or m4a file`, { cause: error });
    }
  }

  constructor(context, sound, fast, audible) {
    Object.assign(this, { context, sound, fast, audible, stopped: false, secondsLeft: sound.duration });
    this.sampleRate = sound.sampleRate;
    this.channels = sound.numberOfChannels;
  }

  async run(send, waitingBytes) {
    const size = Math.round(this.sampleRate * PIECE_SECONDS);
    if (this.audible && !this.fast) this.play();
    const begin = performance.now();
    for (let first = 0; first < this.sound.length && !this.stopped; first += size) {
      const last = Math.min(first + size, this.sound.length);
      if (this.fast) {
        while (waitingBytes() > MAX_WAITING_BYTES && !this.stopped) await sleep(20);
      } else {
        // A piece is there when its last sample has been spoken.
        await sleep(begin + (last / this.sampleRate) * 1000 - performance.now());
      }
      if (this.stopped) break;
      send(this.interleaved(first, last));
      this.secondsLeft = (this.sound.length - last) / this.sampleRate;
    }
    this.stop();
  }

  play() {
    const player = new AudioBufferSourceNode(this.context, { buffer: this.sound });
    player.connect(this.context.destination);
    player.start();
    this.context.resume();
  }

  interleaved(first, last) {
    const pcm = new Int16Array((last - first) * this.channels);
    for (let channel = 0; channel < this.channels; channel++) {
      const samples = this.sound.getChannelData(channel);
      for (let i = first, j = channel; i < last; i++, j += this.channels) {
        pcm[j] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
      }
    }
    return pcm;
  }

  stop() {
    if (!this.stopped) this.context.close();
    this.stopped = true;
  }
}

const REMEDIES = {
  NotAllowedError: "The microphone was refused: allow it for this page in the browser, beside the address, and try again",
  NotFoundError: "No microphone was found: connect one, and try again",
  NotReadableError: "The microphone cannot be read: close the program that uses it, and try again",
};

function explain(error) {
  const remedy = REMEDIES[error.name] ?? `The microphone failed (${error.message}): try again`;
  throw new Error(`${remedy}; an audio file works without one.`, { cause: error });
}

/** Sends the microphone, one channel at the browser's own rate. */
export class MicrophoneSource {
  static async open() {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give the microphone to https pages and to localhost only; an audio file works here.");
    }
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch(explain);
    const context = new AudioContext();
    await context.audioWorklet.addModule("page/worklet.js");
    return new MicrophoneSource(context, stream);
  }

  constructor(context, stream) {
    Object.assign(this, { context, stream, sampleRate: context.sampleRate, channels: 1 });
    this.ended = new Promise((resolve) => (this.resolve = resolve));
  }

  async run(send) {
    const mono = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" };
    this.recorder = new AudioWorkletNode(this.context, "recorder", mono);
    this.recorder.port.onmessage = ({ data }) => (data ? send(data) : this.resolve());
    new MediaStreamAudioSourceNode(this.context, { mediaStream: this.stream }).connect(this.recorder);
    this.stream.getTracks()[0].onended = () => this.stop();
    this.context.resume();
    await this.ended;
    this.release();
  }

  stop() {
    if (!this.recorder) this.release();
    this.recorder?.port.postMessage("flush");
    // Where there is no sound device at all, the recorder never runs and never answers.
    setTimeout(this.resolve, FLUSH_MS);
  }

  release() {
    this.stream.getTracks().forEach((track) => track.stop());
    if (this.context.state !== "closed") this.context.close();
  }
}
