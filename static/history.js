// The last answers, the latest first; one sheet has one of them, which changes while one writes.

const MOST = 10;
const list = document.getElementById("history");
const copy = document.getElementById("copy");
const answers = [];
let isNew = true; // whether the next answer is about a new sheet

export function remember(text) {
  if (isNew) answers.unshift(text);
  else answers[0] = text;
  answers.length = Math.min(answers.length, MOST);
  isNew = false;
  list.replaceChildren(...answers.map(entry));
  list.parentElement.classList.remove("empty");
}

export function nextSheet() {
  isNew = true;
}

function entry(text) {
  return Object.assign(document.createElement("li"), { textContent: text.replaceAll("\n", " / ") });
}

copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(answers.join("\n"));
    copy.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(list); // without https the reader copies it
    copy.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (copy.textContent = "Copy"), 2000);
});
