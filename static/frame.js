// The frame over a picture, to crop it: one drags it, or moves it with the arrow keys.

import * as sheet from "./sheet.js";

const frame = document.getElementById("frame");
const button = document.getElementById("crop");
const MIDDLE = [240, 180, 720, 540]; // left, top, right and bottom edge on the sheet
const STEP = 20; // pixels of the sheet
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
let edges = MIDDLE;

export function show(next) {
  const [left, top, right, bottom] = (edges = next);
  Object.assign(frame.style, { left: `${(100 * left) / sheet.WIDTH}%`, top: `${(100 * top) / sheet.HEIGHT}%` });
  Object.assign(frame.style, { width: `${(100 * (right - left)) / sheet.WIDTH}%` });
  Object.assign(frame.style, { height: `${(100 * (bottom - top)) / sheet.HEIGHT}%` });
  frame.hidden = false;
  button.textContent = "Crop to the frame";
}

export function hide() {
  frame.hidden = true;
  button.textContent = "Drag a frame to crop";
}

// Cuts the picture to the frame, if there is one; returns false if nothing was cut.
export async function crop() {
  if (frame.hidden) return false;
  hide();
  return sheet.crop(edges);
}

// Moves the frame, or its lower right corner alone, as far as the sheet goes.
function move([x, y], cornerAlone) {
  let [left, top, right, bottom] = edges;
  if (!cornerAlone) [left, top] = [left + x, top + y];
  [right, bottom] = [right + x, bottom + y];
  const fits = 0 <= left && left < right && right <= sheet.WIDTH && 0 <= top && top < bottom && bottom <= sheet.HEIGHT;
  if (fits) show([left, top, right, bottom]);
}

// Calls `changed` after a crop.
export function listen(changed) {
  async function finish() {
    button.focus();
    if (await crop()) changed();
  }
  function cancel() {
    button.focus();
    hide();
  }
  button.addEventListener("click", () => {
    if (!frame.hidden) return finish();
    show(MIDDLE);
    frame.focus();
  });
  frame.addEventListener("keydown", (event) => {
    if (event.key in ARROWS) move(ARROWS[event.key], event.shiftKey);
    else if (event.key === "Enter") finish();
    else if (event.key === "Escape") cancel();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Escape would clear the sheet
  });
}
