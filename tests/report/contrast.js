// The texts whose contrast with what lies behind them is too faint: WCAG 2.1, section 1.4.3.
() => {
  const read = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("color(") ? [...found.slice(0, 3).map((v) => 255 * v), found[3] ?? 1] : [...found.slice(0, 3), found[3] ?? 1];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!walker.currentNode.textContent.trim() || !box.width || style.visibility === "hidden" || element.closest("script, style, :disabled, option, .cut")) continue;
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(read(getComputedStyle(e).backgroundColor));
    const under = chain.reduce((below, layer) => over(layer, below), [255, 255, 255]), ink = over(read(style.color), under);
    const [a, b] = [light(under), light(ink)].sort((x, y) => y - x), contrast = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) faint.push([walker.currentNode.textContent.slice(0, 30), contrast.toFixed(2), element.className]);
  }
  return faint;
}
