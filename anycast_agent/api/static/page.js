// Replaces the content with a fresh one every second; says so when there is none to be had.
"use strict";
let heard = Date.now();
const wide = () => [...document.querySelectorAll(".wide")];
async function refresh() {
  try {
    const response = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (!response.ok) throw new Error(response.status);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const left = wide().map((table) => table.scrollLeft); // on a narrow screen somebody is reading there
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    wide().forEach((table, i) => { table.scrollLeft = left[i] ?? 0; });
    document.title = fresh.title;
    heard = Date.now();
    document.body.classList.remove("gone");
  } catch {
    const seconds = Math.round((Date.now() - heard) / 1000);
    document.getElementById("since").textContent = seconds + " s";
    document.body.classList.add("gone");
  }
  setTimeout(refresh, 1000);
}
setTimeout(refresh, 1000);
