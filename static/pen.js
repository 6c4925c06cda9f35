// The pen, the eraser, and the frame that one drags over a picture to crop it.

import * as sheet from "./sheet.js";

const canvas = document.getElementById("canvas");
const frame = document.getElementById("frame");
let pointer = null; // the pen or finger that is down
let corner = null; // where the frame begins, if that is what is drawn

export const isDown = () => pointer !== null;

function point(event) {
  const { left, top, width } = canvas.getBoundingClientRect();
  const scale = sheet.WIDTH / width;
  return [(event.clientX - left) * scale, (event.clientY - top) * scale];
}

// Left, top, right and bottom edge of the frame from its first corner to this point.
function edges([x, y]) {
  return [Math.min(corner[0], x), Math.min(corner[1], y), Math.max(corner[0], x), Math.max(corner[1], y)];
}

function showFrame([left, top, right, bottom]) {
  Object.assign(frame.style, { left: `${(100 * left) / sheet.WIDTH}%`, top: `${(100 * top) / sheet.HEIGHT}%` });
  Object.assign(frame.style, { width: `${(100 * (right - left)) / sheet.WIDTH}%` });
  Object.assign(frame.style, { height: `${(100 * (bottom - top)) / sheet.HEIGHT}%` });
  frame.hidden = false;
}

// Calls `changed` after a stroke or a crop, and `growing` while a stroke gets longer.
export function listen(changed, growing) {
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    document.body.classList.add("writing");
    const pen = document.querySelector("[name=pen]:checked").value;
    corner = sheet.isPicture() && pen !== "eraser" ? point(event) : null;
    if (corner) return;
    sheet.startStroke(point(event), pen);
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    if (corner) return showFrame(edges(point(event)));
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) sheet.continueStroke(point(step));
    growing();
  });
  const lift = async (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    document.body.classList.remove("writing");
    frame.hidden = true;
    if (!corner) changed();
    else if (event.type === "pointerup" && (await sheet.crop(edges(point(event))))) changed();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
}
