// An authenticator app: six digits every 30 seconds (RFC 6238), of the secret that the console shows.

import { createHmac } from "node:crypto";

const STEP_MS = 30_000;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function bytes(secret) {
  const bits = [...secret.replaceAll(/[\s=]/g, "").toUpperCase()]
    .map((letter) => LETTERS.indexOf(letter).toString(2).padStart(5, "0"))
    .join("");
  return Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
}

function codeOf(secret, step) {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac("sha1", bytes(secret)).update(counter).digest();
  const start = digest.at(-1) & 15;
  return String((digest.readUInt32BE(start) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

export class App {
  #secret;
  #last = 0;

  constructor(secret) {
    this.#secret = secret;
  }

  // A code that was not used yet. The console takes that of the half minute before as well, so the first two come at once.
  async code() {
    const now = () => Math.floor(Date.now() / STEP_MS);
    const step = Math.max(now() - 1, this.#last + 1);
    while (now() < step) await new Promise((resolve) => setTimeout(resolve, 200));
    this.#last = step;
    return codeOf(this.#secret, step);
  }

  // The last one again, as somebody would who looked over a shoulder.
  again() {
    return codeOf(this.#secret, this.#last);
  }
}
