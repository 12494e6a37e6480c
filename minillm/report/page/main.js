// Open the page: read the weights, make the views, listen to keys.

function start() {
  const bytes = bytesOfBase64($("bytes").textContent.trim());
  $("bytes").remove();
  data.runs.forEach((said, i) => runs.push(new Run(said, bytes, COLOURS[i])));
  $("title").textContent = data.title;
  $("about").textContent = data.about;
  const view = data.task === "text" ? new TextView() : new (READING[data.task])();
  const shown = { text: view, ...(data.chat && data.task === "text" ? { chat: view } : {}), ...(data.pairs ? { rate: new RateView() } : {}) };
  const names = { text: "Text", chat: "Conversation", rate: "Rate letters" }, boxes = new Map();
  let current = view;
  const open = (name) => {
    current = shown[name];
    for (const [other, box] of boxes) box.hidden = other !== current;
    for (const tab of $("views").children) tab.ariaSelected = String(tab.dataset.view === name);
    current.switchTo(name === "chat");
  };
  for (const one of new Set(Object.values(shown))) boxes.set(one, make("div", { style: { display: "contents" } }));
  const main = $("main");
  main.replaceChildren();
  for (const [one, box] of boxes) {
    box.replaceChildren(...one.panels());
    main.append(...(boxes.size > 1 ? [wrapped(box)] : [...box.children]));
    if (boxes.size > 1) boxes.set(one, main.lastChild);
  }
  if (Object.keys(shown).length > 1) {
    $("views").append(...Object.keys(shown).map((name) => button(names[name], () => open(name), { role: "tab", data: { view: name } })));
    for (const box of [...boxes.values()].slice(1)) box.hidden = true;
    $("views").firstChild.ariaSelected = "true";
  }
  view.recall(location.hash);
  addEventListener("hashchange", () => view.recall(location.hash));
  addEventListener("keydown", (event) => {
    const field = event.target.closest?.("textarea, select, input, pre, .wide"), onButton = event.target.closest?.("button, a, summary");
    if (field || event.ctrlKey || event.altKey || event.metaKey || (onButton && (event.key === " " || event.key === "Enter"))) return;
    current.key_(event);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.maps?.run && view.maps.draw());
  showCode();
  window.page = { view, runs, shown }; // for the curious, in the console
}

const wrapped = (box) => make("div", { className: "view" }, ...box.children);

function showCode() { // the page shows what it runs
  const scripts = [...document.querySelectorAll("script[data-name]")];
  const show = (script) => { $("source").textContent = script.textContent.trim(); };
  $("files").append(...scripts.map((script) => button(`${script.dataset.name} (${script.textContent.trim().split("\n").length} lines)`, () => show(script))));
  show(scripts.find((script) => script.dataset.name === "model.js"));
}

setTimeout(start); // so that the page shows at once
