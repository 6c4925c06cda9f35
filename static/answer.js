// Shows an answer: the number, how sure the network is, and the details of one digit.

import { offer } from "./correct.js";

const number = document.getElementById("number");
const words = document.getElementById("words");
const boxes = document.getElementById("boxes");
const preview = document.getElementById("preview");
const RUNNER_UP = 0.05; // probability above which the second-best digit is named
const selection = { text: "", index: 0 }; // a later answer with the same text keeps it

const bars = [...Array(10).keys()].map((digit) => {
  const item = document.createElement("li");
  item.innerHTML = `<span>${digit}</span><span class="track"><span class="bar"></span></span><span class="value"></span>`;
  document.getElementById("bars").append(item);
  return item;
});

export function percent(value) {
  if (value > 0.999) return ">99.9 %";
  return value > 0 && value < 0.001 ? "<0.1 %" : `${(value * 100).toFixed(1)} %`;
}

const named = (digit) => `${digit === 8 ? "an" : "a"} ${digit}`;
const atLeast = (value) => (value > 0.999 ? "more than 99.9 %" : `at least ${percent(value)}`);

function leastCertain(digits) {
  return digits.reduce((least, { confidence }, i) => (confidence < digits[least].confidence ? i : least), 0);
}

// "a 4, 97.2 % sure", or "perhaps a 4 (62.0 %), or a 9 (35.1 %)"
function guess({ digit, confidence, probabilities, sure }) {
  const best = sure ? `${named(digit)}, ${percent(confidence)} sure` : `perhaps ${named(digit)} (${percent(confidence)})`;
  const second = Math.max(...probabilities.filter((_, other) => other !== digit));
  return second < RUNNER_UP ? best : `${best}, or ${named(probabilities.indexOf(second))} (${percent(second)})`;
}

export function describe({ text, digits, confidence, sure }) {
  const count = digits.length;
  if (count === 1) return sure ? `Looks like ${guess(digits[0])}.` : `Not sure: ${guess(digits[0])}.`;
  const least = leastCertain(digits);
  if (!sure) return `Not sure of digit ${least + 1} of ${count}: ${guess(digits[least])}.`;
  const what = /^\d{2,12}$/.test(text) ? text : `${count} digits`;
  return `Looks like ${what}, ${atLeast(confidence)} sure of each digit.`;
}

export function showAnswer(answer, size, frame, sheet) {
  words.textContent = describe(answer);
  showNumber(answer);
  boxes.replaceChildren(...answer.digits.map((digit) => box(digit, size, frame, sheet)));
  const usual = answer.sure ? 0 : leastCertain(answer.digits);
  select(answer.digits, answer.text === selection.text ? selection.index : usual);
  selection.text = answer.text;
}

export function showMessage(message) {
  words.textContent = message;
  number.replaceChildren();
  boxes.replaceChildren();
  showDetails(null);
}

function showNumber({ text, digits }) {
  const rows = text.split("\n");
  let index = 0;
  const rowOf = (row) => {
    const element = document.createElement("div");
    element.append(...[...row].map(() => numberButton(digits, index++)));
    return element;
  };
  number.replaceChildren(...rows.map(rowOf));
  number.style.setProperty("--digits", Math.max(...rows.map((row) => row.length)));
  number.style.setProperty("--rows", rows.length);
}

function numberButton(digits, index) {
  const { digit, confidence, sure } = digits[index];
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: digit });
  button.setAttribute("aria-label", `${digit}, ${percent(confidence)} sure`);
  button.classList.toggle("doubtful", !sure);
  button.addEventListener("click", () => select(digits, index));
  return button;
}

// The box is in pixels of the picture that was sent, the frame says where on the sheet that lies.
function box({ digit, sure, box: [left, top, right, bottom] }, [width, height], frame, [sheetWidth, sheetHeight]) {
  const element = document.createElement("div");
  element.append(Object.assign(document.createElement("b"), { textContent: digit }));
  const across = (x) => (100 * (frame.left + (x / width) * frame.width)) / sheetWidth;
  const down = (y) => (100 * (frame.top + (y / height) * frame.height)) / sheetHeight;
  Object.assign(element.style, { left: `${across(left)}%`, top: `${down(top)}%` });
  Object.assign(element.style, { right: `${100 - across(right)}%`, bottom: `${100 - down(bottom)}%` });
  element.classList.toggle("doubtful", !sure);
  return element;
}

function select(digits, chosen) {
  selection.index = chosen;
  [...number.querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
  [...boxes.children].forEach((element, i) => element.classList.toggle("chosen", i === chosen));
  showDetails(digits[chosen]);
}

function showDetails(digit) {
  bars.forEach((item, i) => {
    const value = digit ? digit.probabilities[i] : 0;
    item.classList.toggle("best", digit?.digit === i);
    item.querySelector(".bar").style.width = `${value * 100}%`;
    item.querySelector(".value").textContent = digit ? percent(value) : "";
  });
  offer(digit);
  if (digit) preview.src = digit.preview;
  else preview.removeAttribute("src");
  preview.alt = digit ? `The ${digit.digit} as the network sees it, 28 by 28 pixels` : "";
}
