"use strict";

const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const hint = document.getElementById("hint");
const fileInput = document.getElementById("file");
const WAIT = 150; // milliseconds between drawing and asking
const LARGE = 2_000_000; // bytes: larger pictures are reduced before they are sent

let strokes = 0; // pointers that are down
let last = null;
let asked = 0; // number of the latest request: answers to earlier ones are ignored
let timer = null; // of the next request

// The answer

const bars = [...Array(10).keys()].map((digit) => {
  const item = document.createElement("li");
  item.innerHTML = `<span>${digit}</span><span class="track"><span class="bar"></span></span><span class="value"></span>`;
  document.getElementById("bars").append(item);
  return item;
});

function show(answer) {
  const found = answer.digit !== undefined;
  const percent = (value) => (value * 100).toFixed(1) + " %";
  document.getElementById("digit").textContent = found ? answer.digit : "?";
  document.getElementById("digit").classList.toggle("none", !found);
  document.getElementById("words").textContent = found
    ? `Looks like ${answer.digit === 8 ? "an" : "a"} ${answer.digit}, ${percent(answer.confidence)} sure.`
    : answer.error;
  bars.forEach((item, digit) => {
    const value = found ? answer.probabilities[digit] : 0;
    item.classList.toggle("best", found && digit === answer.digit);
    item.querySelector(".bar").style.width = `${value * 100}%`;
    item.querySelector(".value").textContent = found ? percent(value) : "";
  });
  document.getElementById("seen").hidden = !answer.preview;
  if (answer.preview) document.getElementById("preview").src = answer.preview;
}

async function ask(blob) {
  const number = ++asked;
  const form = new FormData();
  form.append("image", blob, "picture");
  form.append("preview", "true");
  let answer;
  try {
    const response = await fetch("predict", { method: "POST", body: form });
    answer = await response.json();
  } catch {
    answer = { error: "The server does not answer. Is app.py still running?" };
  }
  if (number === asked) show(answer);
}

// Drawing

function clear() {
  forget();
  asked++;
  context.fillStyle = "#fffdf8";
  context.fillRect(0, 0, canvas.width, canvas.height);
  hint.hidden = false;
  show({ error: "Waiting for a digit." });
}

function point(event) {
  const frame = canvas.getBoundingClientRect();
  const scale = canvas.width / frame.width;
  return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
}

function lineTo(end) {
  context.lineWidth = canvas.width / 18;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#1d2740";
  context.beginPath();
  context.moveTo(...last);
  context.lineTo(...end);
  context.stroke();
  last = end;
}

function askSoon() {
  forget();
  timer = setTimeout(() => {
    timer = null;
    canvas.toBlob(ask);
  }, WAIT);
}

function forget() {
  clearTimeout(timer);
  timer = null;
}

canvas.addEventListener("pointerdown", (event) => {
  if (strokes || event.button) return;
  strokes = 1;
  canvas.setPointerCapture(event.pointerId);
  hint.hidden = true;
  last = point(event);
  lineTo(last);
});
canvas.addEventListener("pointermove", (event) => {
  if (!strokes) return;
  const steps = event.getCoalescedEvents?.() ?? [];
  for (const step of steps.length ? steps : [event]) lineTo(point(step));
  if (!timer) askSoon(); // answers appear while one draws
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    if (strokes) askSoon();
    strokes = 0;
  });
}
document.getElementById("clear").addEventListener("click", clear);

// Pictures

async function take(file) {
  if (!file) return;
  clear();
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    show({ error: "Your browser cannot show this file. Choose a PNG, JPEG or WebP picture." });
    return;
  }
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  hint.hidden = true;
  context.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  ask(file.size > LARGE ? await shrink(picture) : file);
}

function shrink(picture) {
  const scale = 1600 / Math.max(picture.width, picture.height, 1600);
  const small = document.createElement("canvas");
  [small.width, small.height] = [picture.width * scale, picture.height * scale];
  small.getContext("2d").drawImage(picture, 0, 0, small.width, small.height);
  return new Promise((resolve) => small.toBlob(resolve, "image/webp", 0.9));
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

clear();
