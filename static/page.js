// Pen, keys and pictures of the page; asks the service what the sheet says.

import { showAnswer, showMessage } from "./answer.js";
import * as sheet from "./sheet.js";

const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const fileInput = document.getElementById("file");
const dark = matchMedia("(prefers-color-scheme: dark)");
const WAIT = 150; // milliseconds between writing and asking
const LARGE = 2_000_000; // bytes: larger files are reduced before they are sent
const LONGEST = 1600; // pixels of their longer side after that
const SENT = ["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]; // as they are

let pointer = null; // the pen or finger that is down
let asked = 0; // number of the latest request: answers to earlier ones are ignored
let timer = null; // of the next request

async function ask() {
  const number = ++asked;
  const { blob, size, frame } = await sheet.toSend();
  const answer = await send(blob);
  if (number !== asked) return;
  if (answer.digits) showAnswer(answer, size, frame, [sheet.WIDTH, sheet.HEIGHT]);
  else showMessage(answer.advice ?? answer.error);
}

async function send(blob) {
  const form = new FormData();
  form.append("image", blob, "picture");
  form.append("preview", "true");
  try {
    const response = await fetch("predict", { method: "POST", body: form });
    const answer = await response.json();
    if (response.status === 422 && !sheet.hasPicture()) answer.advice = "No digit yet. Write a little larger.";
    return answer;
  } catch {
    return { error: "The server does not answer. Is app.py still running?" };
  }
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

// Call this after every change of the sheet.
function changed() {
  paint();
  document.getElementById("hint").hidden = !sheet.isEmpty();
  document.getElementById("undo").disabled = !sheet.canUndo();
  clearTimeout(timer);
  timer = null;
  if (!sheet.isEmpty()) return askSoon();
  asked++;
  showMessage("Waiting for a digit.");
}

// Writing

function point(event) {
  const frame = canvas.getBoundingClientRect();
  const scale = sheet.WIDTH / frame.width;
  return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
}

canvas.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button) return;
  pointer = event.pointerId;
  canvas.setPointerCapture(pointer);
  document.body.classList.add("writing");
  sheet.startStroke(point(event), document.querySelector("[name=pen]:checked").value);
  changed();
});
canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const steps = event.getCoalescedEvents?.() ?? [];
  for (const step of steps.length ? steps : [event]) sheet.continueStroke(point(step));
  requestAnimationFrame(paint);
  askSoon(); // answers appear while one writes
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    document.body.classList.remove("writing");
    changed();
  });
}

function clear() {
  sheet.clear();
  changed();
}

function undo() {
  sheet.undo();
  changed();
}

document.getElementById("clear").addEventListener("click", clear);
document.getElementById("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (pointer !== null) return;
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") undo();
  else if (event.key === "Escape" || event.key === "Delete") clear();
  else return;
  event.preventDefault();
});
dark.addEventListener("change", paint);

// Pictures

async function take(file) {
  if (!file) return;
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    sheet.clear();
    changed();
    showMessage("Your browser cannot show this file. Choose a PNG, JPEG or WebP picture.");
    return;
  }
  const fits = SENT.includes(file.type) && file.size <= LARGE;
  sheet.place(fits ? picture : await reduce(picture), fits ? file : null);
  changed();
}

function reduce(picture) {
  const scale = LONGEST / Math.max(picture.width, picture.height, LONGEST);
  const [resizeWidth, resizeHeight] = [picture.width, picture.height].map((side) => Math.ceil(side * scale));
  return createImageBitmap(picture, { resizeWidth, resizeHeight, resizeQuality: "high" });
}

fileInput.addEventListener("change", () => {
  take(fileInput.files[0]);
  fileInput.value = "";
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files[0]);
});

changed();
