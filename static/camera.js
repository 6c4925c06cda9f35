// The camera: shows what it sees on the sheet, and hands out a frame each second.

const video = document.getElementById("video");
const button = document.getElementById("camera");
const PAUSE = 1000; // milliseconds between two frames
let stream = null;

export const isOn = () => stream !== null;

function show() {
  video.hidden = !isOn();
  button.setAttribute("aria-pressed", isOn());
}

// Calls `look` with a frame each second, until it is turned off. Throws if there is no camera, or it may not be used.
export async function turnOn(look) {
  const wish = { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 960 } };
  stream = await navigator.mediaDevices.getUserMedia({ video: wish });
  const ours = stream;
  video.srcObject = stream;
  show();
  await video.play();
  while (stream === ours) {
    const frame = await createImageBitmap(video);
    if (stream === ours) await look(frame);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

export function turnOff() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  show();
}

// Calls `press` when the button, or the picture that is shown, is pressed.
export function listen(press) {
  button.hidden = !navigator.mediaDevices?.getUserMedia; // as on a page without https
  button.addEventListener("click", press);
  video.addEventListener("click", press);
}
