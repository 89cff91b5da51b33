// Asks the browser for a passkey and sends the form that it belongs to. Where scripts are off, or the browser knows no passkeys, its button
// stays hidden.

"use strict";

function toBytes(text) {
  const padded = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(padded), (letter) => letter.charCodeAt(0));
}

function toText(buffer) {
  const bytes = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function withBytes(options) {
  const known = (list) => (list || []).map((entry) => ({ ...entry, id: toBytes(entry.id) }));
  const read = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) read.user = { ...options.user, id: toBytes(options.user.id) };
  if (options.excludeCredentials) read.excludeCredentials = known(options.excludeCredentials);
  if (options.allowCredentials) read.allowCredentials = known(options.allowCredentials);
  return read;
}

// As the server reads it: what the browser answered, bytes as text.
function written(credential) {
  const from = credential.response;
  const response = { clientDataJSON: toText(from.clientDataJSON) };
  if (from.attestationObject) {
    response.attestationObject = toText(from.attestationObject);
    response.transports = from.getTransports ? from.getTransports() : [];
  } else {
    response.authenticatorData = toText(from.authenticatorData);
    response.signature = toText(from.signature);
    response.userHandle = from.userHandle ? toText(from.userHandle) : null;
  }
  return JSON.stringify({
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    response,
    extensions: {},
  });
}

class Refused extends Error {}

async function begin(address, form) {
  const csrf = form.elements.csrf;
  const headers = csrf ? { "x-csrf-token": csrf.value } : {};
  const answer = await fetch(address, { method: "POST", headers, signal: AbortSignal.timeout(10000) });
  if (answer.status === 429) throw new Refused("Too many tries: wait a minute.");
  if (!answer.ok) throw new Refused(`The console answers ${answer.status}: load the page again.`);
  return answer.json();
}

function why(error) {
  if (error instanceof Refused) return error.message;
  if (error.name === "NotAllowedError") return "Nothing came from the device: it was cancelled, or took too long. Try again.";
  if (error.name === "InvalidStateError") return "This device has a passkey of yours already.";
  if (error.name === "SecurityError") return "Passkeys do not work at this address: open the console by its own name.";
  return "The device could not be asked. Try again.";
}

async function run(part) {
  const form = part.closest("form");
  const { ceremony, options } = await begin(part.dataset.options, form);
  const publicKey = withBytes(options);
  const credential = part.dataset.passkey === "create"
    ? await navigator.credentials.create({ publicKey })
    : await navigator.credentials.get({ publicKey });
  part.querySelector('[data-part="ceremony"]').value = ceremony;
  part.querySelector('[data-part="credential"]').value = written(credential);
  form.submit();
}

// The page may be exchanged under this script, so it keeps no element: a class shows the buttons, the document hears the clicks.
if (window.PublicKeyCredential) document.documentElement.classList.add("knows-passkeys");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-passkey] button");
  if (!button) return;
  const part = button.closest("[data-passkey]");
  const wrong = part.querySelector("[role=alert]");
  button.disabled = true;
  wrong.hidden = true;
  try {
    await run(part);
  } catch (error) {
    wrong.textContent = why(error);
    wrong.hidden = false;
    button.disabled = false;
  }
});
