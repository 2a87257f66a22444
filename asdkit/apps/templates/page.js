"use strict";
const all = selector => document.querySelectorAll(selector);

// the table: a click on a head sorts by its column, a second one the other way round
function sort(head) {
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1, body = head.closest("table").tBodies[0];
  const value = row => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
  const order = (a, b) => a - b || a.localeCompare(b, undefined, { numeric: true });
  body.append(...[...body.rows].sort((a, b) => sign * order(value(a), value(b))));
  all("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}
all("th button").forEach(button => button.addEventListener("click", () => sort(button.closest("th"))));

// the players: times are those of the recording, of which a long one is heard in part
for (const audio of all("audio")) {
  const section = audio.closest("section"), get = selector => section.querySelector(selector);
  const [start, end] = audio.dataset.span.split(" ").map(Number), [from, to] = audio.dataset.peak.split(" ").map(Number);
  const offset = Number(audio.dataset.heard), time = get(".time"), head = get(".head"), play = get(".play"), input = get("input");
  let stop = Infinity;
  const show = () => {
    const now = offset + audio.currentTime;
    head.style.left = 100 * (now - start) / (end - start) + "%";
    head.style.visibility = "visible";
    input.value = now;
    get("output").textContent = now.toFixed(1) + " s";
    play.textContent = audio.paused ? "play" : "pause";
    if (now >= stop) audio.pause();
    if (!audio.paused) requestAnimationFrame(show);
  };
  const seek = seconds => { stop = Infinity; audio.currentTime = Math.max(0, seconds - offset); show(); };
  const toggle = () => { stop = Infinity; audio.paused ? audio.play() : audio.pause(); };
  audio.controls = false;
  audio.preload = "auto";
  get(".player").hidden = false;
  audio.addEventListener("play", () => { all("audio").forEach(other => other !== audio && other.pause()); show(); });
  for (const event of ["pause", "seeked"]) audio.addEventListener(event, show);
  play.addEventListener("click", toggle);
  input.addEventListener("input", () => seek(Number(input.value)));
  time.addEventListener("click", event => seek(start + (end - start) * event.offsetX / time.clientWidth));
  get(".stretch").addEventListener("click", () => { seek(from); stop = to; audio.play(); });
  all(`[data-clip="${section.id}"]`).forEach(button => button.addEventListener("click", toggle));
}
