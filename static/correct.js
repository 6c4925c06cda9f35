// "Wrong? It is a ...": keeps a digit with its right label, on the server or for a download.

import { zip } from "./zip.js";

const buttons = [...document.querySelectorAll("#labels button")];
const outcome = document.getElementById("outcome");
const download = document.getElementById("download");
const folder = document.body.dataset.keptIn; // empty where the server keeps nothing
const mine = new Map(); // from the 28x28 picture, a data URL, to its label
let shown = null; // the picture that a correction is about

export function offer(digit) {
  const picture = digit?.preview ?? null;
  document.getElementById("correct").classList.toggle("empty", !picture);
  if (picture === shown) return;
  shown = picture;
  mark();
  outcome.textContent = "";
}

function mark() {
  for (const button of buttons) button.setAttribute("aria-pressed", mine.get(shown) === button.value);
}

const bytesOf = (dataUrl) => Uint8Array.from(atob(dataUrl.split(",")[1]), (letter) => letter.charCodeAt(0));

async function send(picture, label) {
  const headers = { "Content-Type": "image/png" };
  try {
    const response = await fetch(`correct?label=${label}`, { method: "POST", headers, body: bytesOf(picture) });
    return (await response.json()).error;
  } catch {
    return "The server does not answer. Is app.py still running?";
  }
}

async function correct({ value, textContent }) {
  const picture = shown;
  const error = folder ? await send(picture, value) : null;
  if (!error) mine.set(picture, value);
  download.hidden = folder || mine.size === 0;
  download.textContent = `Download my pictures (${mine.size})`;
  if (picture !== shown) return;
  mark();
  const what = value === "none" ? textContent : `${value === "8" ? "an" : "a"} ${value}`;
  outcome.textContent = error ?? (folder ? `Thank you! Kept in ${folder} as ${what}.` : `Noted as ${what}.`);
}

// The folders are those that mnist_dnn.py --data-dir reads.
function save() {
  const stamp = Date.now(); // several downloads can be unpacked into one folder
  const files = [...mine].map(([picture, label], i) => {
    const place = label === "none" ? "nondigits" : `train/${label}`;
    return [`my_digits/${place}/${stamp}-${i}.png`, bytesOf(picture)];
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([zip(files)], { type: "application/zip" }));
  link.download = "my_digits.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

for (const button of buttons) button.addEventListener("click", () => correct(button));
download.addEventListener("click", save);
