"use strict";
// The page of serve.py: sends clips to /v1/classify and /v1/timeline, and shows the answers. Names are only ever text.

const TEXTS = {
  en: {
    title: "What does the clip show?", token: "Token of this service", drop: "Drop clips here", choose: "Choose clips",
    url: "or give a public address", go: "Go", limit: "Up to", models: "Models", cancel: "Cancel", timeline: "What happens when",
    ask: "Show what happens when", seen: "Frames that the model saw, in order from the top left.",
    history: "Earlier clips of this visit", unplayable: "This browser cannot play the clip.",
    loading: "The models are being loaded …", upload: "Uploading", work: "Looking at", fetch: "Fetching", seconds: "s",
    lost: "The service cannot be reached. Is it still running?", large: "is larger than this service takes", gone: "Cancelled.",
    frames: "Frames of", decode: "decoding", network: "network", queue: "waiting", other: "中文",
  },
  zh: {
    title: "视频里是什么？", token: "本服务的令牌", drop: "把视频拖到这里", choose: "选择视频", url: "或输入公网地址", go: "开始",
    limit: "上限", models: "模型", cancel: "取消", timeline: "什么时候发生了什么", ask: "显示时间轴",
    seen: "模型看到的帧，从左上角起按时间排列。", history: "本次访问中的其他视频", unplayable: "此浏览器无法播放该视频。",
    loading: "正在加载模型……", upload: "正在上传", work: "正在识别", fetch: "正在下载", seconds: "秒",
    lost: "无法连接服务，它还在运行吗？", large: "超过了本服务的上限", gone: "已取消。", frames: "视频的帧：", decode: "解码",
    network: "网络", queue: "等待", other: "English",
  },
};
const LONG = 8; // seconds from which a timeline is offered
const find = (id) => document.getElementById(id);
const past = [];
let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
let shown = null; // the entry on the page
let running = null; // the XMLHttpRequest under way
let address = null; // object address of the clip that plays

const text = (key) => TEXTS[language][key];

function translate() {
  document.documentElement.lang = language;
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = text(element.dataset.t);
  find("language").textContent = text("other");
  find("language").lang = language === "zh" ? "en" : "zh";
}

function made(tag, content, kind) {
  const element = document.createElement(tag);
  if (content !== undefined) element.textContent = content;
  if (kind) element.className = kind;
  return element;
}

function fail(sentence) {
  find("error").textContent = sentence;
  find("error").hidden = !sentence;
}

function headers() {
  const token = find("token") ? find("token").value : "";
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function send(route, body, doing) {
  // The answer of the service as an object; throws an Error with its sentence.
  return new Promise((resolve, reject) => {
    const request = (running = new XMLHttpRequest());
    request.open("POST", route);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    if (!(body instanceof FormData)) request.setRequestHeader("Content-Type", "application/json");
    const bar = find("progress");
    bar.removeAttribute("value");
    request.upload.onprogress = (event) => {
      const whole = event.loaded === event.total;
      find("doing").textContent = `${text(whole ? "work" : doing)} …`;
      if (whole) bar.removeAttribute("value");
      else bar.value = event.loaded / event.total;
    };
    request.onabort = () => reject(new Error(text("gone")));
    request.onerror = () => reject(new Error(text("lost")));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = { error: `${request.status} ${request.statusText}` };
      }
      if (request.status === 200) return resolve(answer);
      if (request.status === 401 && find("token")) find("token").focus();
      return reject(new Error(answer.error || `${request.status}`));
    };
    find("doing").textContent = `${text(doing)} …`;
    find("work").hidden = false;
    request.send(body);
  }).finally(() => {
    running = null;
    find("work").hidden = true;
  });
}

function body(entry, model, frames) {
  if (!entry.file) return JSON.stringify({ url: entry.url, model, frames });
  const form = new FormData();
  form.append("model", model);
  form.append("frames", frames ? "1" : "0");
  form.append("file", entry.file, entry.file.name);
  return form;
}

function chosen() {
  const boxes = [...find("models").querySelectorAll("input")];
  const names = boxes.filter((box) => box.checked).map((box) => box.value);
  return names.length ? names : boxes.slice(0, 1).map((box) => box.value);
}

async function classify(entry) {
  fail("");
  const most = Number(document.body.dataset.megabytes) * 1048576;
  if (entry.file && entry.file.size > most) return fail(`${entry.name} ${text("large")}`);
  try {
    if (!find("models").querySelector("input")) await ready();
    for (const model of chosen()) {
      const answer = await send("v1/classify", body(entry, model, true), entry.file ? "upload" : "fetch");
      entry.answers.push(answer);
      if (entry.answers.length === 1) past.unshift(entry);
      if (entry.answers.length === 1 || shown === entry) show(entry);
    }
  } catch (error) {
    fail(error.message);
  }
}

async function take(files) {
  for (const file of files) await classify({ file, name: file.name, answers: [], timeline: null });
}

function show(entry) {
  const other = shown !== entry;
  shown = entry;
  find("name").textContent = entry.name;
  find("result").hidden = false;
  if (other) play(entry);
  find("answers").replaceChildren(...entry.answers.map(answered));
  const frames = entry.answers[0].frames;
  find("seen").hidden = !frames;
  if (frames) find("frames").src = frames;
  find("frames").alt = `${text("frames")} ${entry.name}`;
  timeline(entry);
  list();
}

function answered(answer) {
  const part = made("section");
  part.append(made("h3", answer.model));
  const rows = made("ol");
  for (const each of answer.categories) {
    const row = made("li");
    const meter = made("meter");
    meter.value = each.score;
    row.append(made("span", each.name), meter, made("span", `${(100 * each.score).toFixed(1)} %`, "number"));
    rows.append(row);
  }
  const parts = ["queue", "decode", "network"].filter((stage) => stage in answer.seconds);
  const spent = parts.map((stage) => `${text(stage)} ${answer.seconds[stage].toFixed(2)} ${text("seconds")}`);
  part.append(rows, made("p", spent.join(" · "), "soft small"));
  return part;
}

function play(entry) {
  const video = find("video");
  if (address) URL.revokeObjectURL(address);
  address = entry.file ? URL.createObjectURL(entry.file) : null;
  video.hidden = !address;
  find("unplayable").hidden = true;
  if (!address) return video.removeAttribute("src");
  video.src = address;
  video.play().catch(() => {}); // a browser may want a click first
}

async function askTimeline(entry) {
  fail("");
  try {
    entry.timeline = await send("v1/timeline", body(entry, entry.answers[0].model, false), "upload");
  } catch (error) {
    fail(error.message);
  }
  if (shown === entry) timeline(entry);
}

function timeline(entry) {
  const video = find("video");
  find("ask").hidden = Boolean(entry.timeline) || video.hidden || !(video.duration >= LONG);
  find("timeline").hidden = !entry.timeline;
  if (!entry.timeline) return;
  const track = find("track");
  const length = entry.timeline.duration;
  for (const button of track.querySelectorAll("button")) button.remove();
  for (const each of entry.timeline.segments) {
    const title = `${clock(each.start)}–${clock(each.end)} ${each.name} ${(100 * each.score).toFixed(0)} %`;
    const button = made("button", each.name);
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.style.left = `${(100 * each.start) / length}%`;
    button.style.width = `${(100 * (each.end - each.start)) / length}%`;
    button.dataset.start = each.start;
    button.dataset.end = each.end;
    button.onclick = () => {
      video.currentTime = each.start;
      follow();
    };
    track.append(button);
  }
  follow();
}

function follow() {
  // The cursor and the segment under the player's time.
  if (!shown || !shown.timeline) return;
  const time = find("video").currentTime;
  find("cursor").style.left = `${Math.min(100, (100 * time) / shown.timeline.duration)}%`;
  for (const button of find("track").querySelectorAll("button")) {
    const now = time >= Number(button.dataset.start) && time < Number(button.dataset.end);
    button.classList.toggle("now", now);
    if (now) find("now").textContent = button.title;
  }
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function list() {
  const others = past.filter((entry) => entry !== shown);
  find("past").hidden = !others.length;
  const rows = others.map((entry) => {
    const best = entry.answers[0].categories[0];
    const button = made("button", `${entry.name}: ${best.name} ${(100 * best.score).toFixed(1)} %`, "quiet");
    button.type = "button";
    button.onclick = () => {
      show(entry);
      find("name").scrollIntoView();
    };
    const row = made("li");
    row.append(button);
    return row;
  });
  find("history").replaceChildren(...rows);
}

async function ready() {
  // The names of the models, as soon as they are loaded.
  for (;;) {
    const answer = await fetch("v1/models", { headers: headers() });
    if (answer.status === 503) {
      find("state").textContent = text("loading");
      await new Promise((resolve) => setTimeout(resolve, 1000));
      continue;
    }
    find("state").textContent = "";
    if (!answer.ok) throw new Error((await answer.json()).error);
    const { models } = await answer.json();
    const labels = models.map((model, place) => {
      const label = made("label");
      const box = made("input");
      box.type = "checkbox";
      box.value = model.name;
      box.checked = place === 0;
      label.append(box, made("span", model.name === model.model ? model.name : `${model.name} (${model.model})`));
      return label;
    });
    find("models").querySelectorAll("label").forEach((label) => label.remove());
    find("models").append(...labels);
    find("models").hidden = models.length < 2;
    return;
  }
}

function listen() {
  const drop = find("drop");
  const stop = (event) => event.preventDefault();
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, stop);
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => take(event.dataTransfer.files));
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  find("choose").onclick = () => find("file").click();
  find("file").onchange = async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await take(files);
  };
  find("cancel").onclick = () => running && running.abort();
  find("ask").onclick = () => askTimeline(shown);
  find("video").ontimeupdate = follow;
  find("video").onloadedmetadata = () => shown && timeline(shown);
  find("video").onerror = () => {
    find("unplayable").hidden = !address;
    find("video").hidden = true;
  };
  find("language").onclick = () => {
    language = language === "zh" ? "en" : "zh";
    translate();
    if (shown) show(shown);
  };
  if (find("fetch")) {
    find("fetch").onsubmit = (event) => {
      event.preventDefault();
      const url = find("url").value;
      classify({ url, name: url.split("/").pop() || url, answers: [], timeline: null });
    };
  }
  if (find("token")) {
    find("token").value = sessionStorage.getItem("token") || "";
    find("token").onchange = () => {
      sessionStorage.setItem("token", find("token").value);
      fail("");
      ready().catch((error) => fail(error.message));
    };
  }
}

translate();
listen();
if (!find("token") || find("token").value) ready().catch((error) => fail(error.message));
