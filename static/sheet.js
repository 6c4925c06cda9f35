// The sheet of paper: strokes and a picture, with undo.

export const [WIDTH, HEIGHT] = [960, 720]; // in pixels of the sheet, as the canvas has them
const ERASER = 90; // pixels wide
const SENT = 0.5; // size of a written sheet when it is sent
const SMALLEST = 8; // pixels of a picture's side after a crop

let marks = []; // what is on the sheet, the lowest first: strokes and a picture
const past = []; // the marks before each change

export const isEmpty = () => marks.length === 0;
export const canUndo = () => past.length > 0;
export const hasPicture = () => marks.some((mark) => mark.picture);
export const isPicture = () => marks.length === 1 && Boolean(marks[0].picture); // without ink on it

function change(next) {
  past.push(marks);
  marks = next;
}

export function startStroke(point, pen) {
  const erases = pen === "eraser";
  change([...marks, { points: [point], width: erases ? ERASER : Number(pen), erases }]);
}

export function continueStroke(point) {
  marks.at(-1).points.push(point);
}

// Without a file to send, the picture is re-encoded. A frame of the camera can replace the one before it for good.
export function place(picture, file, canUndo = true) {
  const scale = Math.min(WIDTH / picture.width, HEIGHT / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  const frame = { left: (WIDTH - width) / 2, top: (HEIGHT - height) / 2, width, height };
  if (canUndo) change([{ picture, file, frame }]);
  else marks = [{ picture, file, frame }];
}

// Cuts the picture to edges on the sheet, left, top, right and bottom; returns false if hardly anything would be left.
export async function crop([left, top, right, bottom]) {
  const { picture, frame } = marks[0];
  const scale = picture.width / frame.width;
  const across = (x) => Math.round(Math.min(Math.max(x - frame.left, 0), frame.width) * scale);
  const down = (y) => Math.round(Math.min(Math.max(y - frame.top, 0), frame.height) * scale);
  const [width, height] = [across(right) - across(left), down(bottom) - down(top)];
  if (Math.min(width, height) < SMALLEST) return false;
  place(await createImageBitmap(picture, across(left), down(top), width, height), null);
  return true;
}

export function clear() {
  if (!isEmpty()) change([]);
}

export function undo() {
  if (canUndo()) marks = past.pop();
}

export function paint(context, { paper, ink }) {
  context.fillStyle = paper;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  context.lineCap = context.lineJoin = "round";
  for (const { picture, frame, points, width, erases } of marks) {
    if (picture) {
      context.drawImage(picture, frame.left, frame.top, frame.width, frame.height);
    } else {
      context.strokeStyle = erases ? paper : ink;
      context.lineWidth = width;
      context.stroke(path(points));
    }
  }
}

// One curve through the middles between the points: without corners, and without joints.
function path(points) {
  const line = new Path2D();
  line.moveTo(...points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    const [[x, y], [nextX, nextY]] = [points[i], points[i + 1]];
    line.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  const [x, y] = points.at(-1);
  line.lineTo(x + 0.01, y); // a dot without any length would not be drawn
  return line;
}

// Returns what to send, and where on the sheet it lies: an untouched picture, or all of the sheet.
export async function toSend() {
  if (marks.length === 1 && marks[0].picture) {
    const { picture, file, frame } = marks[0];
    return { blob: file ?? (await encode(picture)), size: [picture.width, picture.height], frame };
  }
  const small = Object.assign(document.createElement("canvas"), { width: WIDTH * SENT, height: HEIGHT * SENT });
  const context = small.getContext("2d");
  context.scale(SENT, SENT);
  paint(context, { paper: "#fff", ink: "#000" });
  const frame = { left: 0, top: 0, width: WIDTH, height: HEIGHT };
  return { blob: await toBlob(small, "image/png"), size: [small.width, small.height], frame };
}

function encode(picture) {
  const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return toBlob(canvas, "image/webp");
}

const toBlob = (canvas, type) => new Promise((resolve) => canvas.toBlob(resolve, type, 0.9));
