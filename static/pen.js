// The pen, the eraser, and dragging a frame over a picture.

import * as frame from "./frame.js";
import * as sheet from "./sheet.js";

const canvas = document.getElementById("canvas");
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

// Calls `changed` after a stroke or a crop, and `growing` while a stroke gets longer.
export function listen(changed, growing) {
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    document.body.classList.add("writing");
    const pen = document.querySelector("[name=pen]:checked").value;
    frame.hide();
    corner = sheet.isPicture() && pen !== "eraser" ? point(event) : null;
    if (corner) return;
    sheet.startStroke(point(event), pen);
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    if (corner) return frame.show(edges(point(event)));
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) sheet.continueStroke(point(step));
    growing();
  });
  const lift = async (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    document.body.classList.remove("writing");
    if (event.type === "pointercancel") frame.hide();
    if (!corner || (await frame.crop())) changed();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
}
