// Takes a fresh page every second and changes only what differs, so that selected text, the place where somebody reads
// and the keyboard's focus stay. Says so when there is no fresh page to be had.
"use strict";
const EVERY = 1000;
let heard = Date.now();

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);

function renew(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const keyed = new Map([...old.childNodes].filter(key).map((node) => [key(node), node]));
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let found = key(wanted) ? keyed.get(key(wanted)) : place;
    const alike = found && found.nodeName === wanted.nodeName && key(found) === key(wanted);
    if (!alike) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else old.insertBefore(found, place);
    renew(found, wanted);
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

async function refresh() {
  const asked = Date.now();
  try {
    const response = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!response.ok) throw new Error(response.status);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    renew(document.querySelector("main"), fresh.querySelector("main"));
    document.title = fresh.title;
    heard = asked;
    document.body.classList.remove("gone");
  } catch {
    document.getElementById("since").textContent = Math.round((Date.now() - heard) / 1000) + " s";
    document.body.classList.add("gone");
  }
  setTimeout(refresh, Math.max(EVERY, 3 * (Date.now() - asked))); // a page that is dear to make is asked for less often
}
setTimeout(refresh, EVERY);
