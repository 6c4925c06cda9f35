// Asks the service what the sheet says, and connects the parts of the page.

import { showAnswer, showMessage } from "./answer.js";
import * as camera from "./camera.js";
import * as frame from "./frame.js";
import { nextSheet, remember } from "./history.js";
import * as pen from "./pen.js";
import * as pictures from "./pictures.js";
import * as sheet from "./sheet.js";

const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const WAIT = 150; // milliseconds between writing and asking

let asked = 0; // number of the latest request: answers to earlier ones are ignored
let timer = null; // of the next request

async function ask() {
  const number = ++asked;
  const { blob, size, frame } = await sheet.toSend();
  const answer = await send(blob);
  if (number !== asked) return;
  if (!answer.digits) return showMessage(answer.advice ?? answer.error);
  showAnswer(answer, size, frame, [sheet.WIDTH, sheet.HEIGHT]);
  remember(answer.text);
}

async function send(blob) {
  const form = new FormData();
  form.append("image", blob, "picture");
  form.append("preview", "true");
  try {
    const response = await fetch("predict", { method: "POST", body: form });
    const answer = await response.json();
    if (response.status === 422) answer.advice = advice();
    return answer;
  } catch {
    return { error: "The server does not answer. Is app.py still running?" };
  }
}

// Returns what helps where no digit was found; null for a picture, whose error says it.
function advice() {
  if (camera.isOn()) return "No digit in view. Hold it closer, in good light.";
  return sheet.hasPicture() ? null : "No digit yet. Write a little larger.";
}

function askSoon() {
  timer ??= setTimeout(() => {
    timer = null;
    ask();
  }, WAIT);
}

function paint() {
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);
  sheet.paint(context, { paper: colour("--paper"), ink: colour("--ink") });
}

function show() {
  paint();
  frame.hide();
  document.getElementById("hint").hidden = !sheet.isEmpty();
  document.getElementById("undo").disabled = !sheet.canUndo();
  document.body.classList.toggle("picture", sheet.isPicture());
}

// Call this after every change of the sheet.
function changed() {
  show();
  clearTimeout(timer);
  timer = null;
  if (!sheet.isEmpty()) return askSoon();
  asked++;
  nextSheet();
  showMessage("Waiting for a digit.");
}

function clear() {
  camera.turnOff();
  sheet.clear();
  changed();
}

function undo() {
  camera.turnOff();
  sheet.undo();
  changed();
}

pen.listen(changed, () => {
  requestAnimationFrame(paint);
  askSoon(); // answers appear while one writes
});
frame.listen(changed);
pictures.listen(
  changed,
  () => {
    show();
    return ask();
  },
  showMessage,
);
document.getElementById("clear").addEventListener("click", clear);
document.getElementById("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (pen.isDown()) return;
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") undo();
  else if (event.key === "Escape" || event.key === "Delete") clear();
  else return;
  event.preventDefault();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

changed();
