const player = document.querySelector("video");
const cursor = document.querySelector(".cursor");
const now = document.querySelector(".now");
const stretches = [...document.querySelectorAll("tr[data-at]")];
for (const place of document.querySelectorAll("button[data-at]")) {
  place.addEventListener("click", () => {
    if (!player) return;
    player.currentTime = Number(place.dataset.at);
    player.play();
  });
}
if (player) {
  player.addEventListener("timeupdate", () => {
    const time = player.currentTime;
    cursor.style.left = `${Math.min(100, (100 * time) / Number(cursor.dataset.seconds))}%`;
    const shown = stretches.filter((row) => Number(row.dataset.at) <= time && time < Number(row.dataset.end));
    for (const row of stretches) row.classList.toggle("on", shown.includes(row));
    now.textContent = shown.map((row) => row.dataset.name).join(", ");
  });
  player.addEventListener("error", () => document.querySelector(".unplayable").hidden = false, true);
}
