// Talks with the test that started this program: what only the stage can do (invite somebody, break and mend a job) is asked for,
// one JSON object a line, and answered the same way.

import { createInterface } from "node:readline";

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export async function ask(what, fields = {}) {
  process.stdout.write(JSON.stringify({ ask: what, ...fields }) + "\n");
  const { value, done } = await answers.next();
  if (done) throw new Error(`the stage is gone; it was asked to ${what}`);
  return JSON.parse(value);
}

export function say(fields) {
  process.stdout.write(JSON.stringify({ say: fields }) + "\n");
}

// A variable that the stage has set.
export function given(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: tests/it/browser.rs starts this program`);
  return value;
}
