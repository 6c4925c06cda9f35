// Pictures for the sheet: chosen, dropped, pasted, one of the examples, or from the camera.

import * as camera from "./camera.js";
import { nextSheet } from "./history.js";
import * as sheet from "./sheet.js";

const fileInput = document.getElementById("file");
const LARGE = 2_000_000; // bytes: larger files are reduced before they are sent
const LONGEST = 1600; // pixels of their longer side after that
const SENT = ["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]; // as they are

function reduce(picture) {
  const scale = LONGEST / Math.max(picture.width, picture.height, LONGEST);
  const [resizeWidth, resizeHeight] = [picture.width, picture.height].map((side) => Math.ceil(side * scale));
  return createImageBitmap(picture, { resizeWidth, resizeHeight, resizeQuality: "high" });
}

// Calls `changed` when there is another picture on the sheet, `look` for each frame of the camera, and `say` with a
// message if that fails.
export function listen(changed, look, say) {
  async function take(file) {
    if (!file) return;
    camera.turnOff();
    nextSheet();
    try {
      const picture = await createImageBitmap(file);
      const fits = SENT.includes(file.type) && file.size <= LARGE;
      sheet.place(fits ? picture : await reduce(picture), fits ? file : null);
      changed();
    } catch {
      sheet.clear();
      changed();
      say("Your browser cannot show this file. Choose a PNG, JPEG or WebP picture.");
    }
  }

  async function pressCamera() {
    if (camera.isOn()) return camera.turnOff();
    nextSheet();
    let first = true;
    try {
      await camera.turnOn(async (frame) => {
        sheet.place(frame, null, first);
        first = false;
        await look();
      });
    } catch (error) {
      camera.turnOff();
      const refused = error.name === "NotAllowedError";
      say(refused ? "This page may not use the camera: allow it, or choose a picture." : "There is no camera. Choose a picture.");
    }
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
  for (const button of document.querySelectorAll("#examples button")) {
    button.addEventListener("click", async () => take(await (await fetch(button.firstElementChild.src)).blob()));
  }
  camera.listen(pressCamera);
}
