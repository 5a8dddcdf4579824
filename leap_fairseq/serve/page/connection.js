// The websocket to the server; leap_fairseq/serve/server.py describes the protocol.

export class Connection {
  /** Opens a session, which may ask for a policy; resolves when it is open, rejects when there is none. */
  static open({ sampleRate, channels }, policy, { onWords, onPolicy }) {
    const address = new URL("stream", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const connection = new Connection(new WebSocket(address), sampleRate * channels, onWords, onPolicy);
    return new Promise((resolve, reject) => {
      connection.ended.then(({ error }) => reject(new Error(error)));
      connection.socket.onopen = () => {
        connection.socket.send(JSON.stringify({ sample_rate: sampleRate, channels, policy }));
        resolve(connection);
      };
    });
  }

  /** Its `ended` resolves to the error that ended the session, if any, and to what the server has to say of its end. */
  constructor(socket, samplesPerSecond, onWords, onPolicy) {
    Object.assign(this, { socket, samplesPerSecond, samples: 0 });
    this.ended = new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        const reply = JSON.parse(data);
        if (reply.words) onWords(reply.words, reply.heard_ms);
        else if (reply.policy) onPolicy(reply);
        else resolve(reply);
      };
      socket.onclose = () => resolve({ error: "the server cannot be reached" });
    });
  }

  /** Speech sent, in seconds. */
  get seconds() {
    return this.samples / this.samplesPerSecond;
  }

  /** Bytes that the network has not taken yet. */
  get waitingBytes() {
    return this.socket.bufferedAmount;
  }

  send(pcm) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(pcm);
    this.samples += pcm.length;
  }

  finish() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ end: true }));
  }

  close() {
    this.socket.close();
  }
}
