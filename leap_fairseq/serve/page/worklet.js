// Cuts what the microphone delivers into pieces of 100 ms of 16-bit PCM. Any message to it flushes the last one, and null
// is the answer.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 10));
    this.filled = 0;
    this.port.onmessage = () => {
      this.post();
      this.port.postMessage(null);
    };
  }

  process(inputs) {
    for (const sample of inputs[0][0] ?? []) {
      this.piece[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.filled === this.piece.length) this.post();
    }
    return true;
  }

  post() {
    this.port.postMessage(this.piece.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("recorder", Recorder);
