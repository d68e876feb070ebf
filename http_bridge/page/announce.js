// What changes unasked is told to screen readers, one thing at a time.

const announcer = document.getElementById("announcer");

export function announce(text) {
  announcer.textContent = text;
}
