// SPDX-License-Identifier: Apache-2.0
// The picture, its legend, and the best words under the mouse.
//
// Gradio runs this once, with `element`, `props`, `trigger` and `watch`. The
// value comes from view_of() in work.py, or is {message, error}.

const make = (tag, name, parent, text) => {
  const node = document.createElement(tag);
  node.className = name;
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};
const percent = (share) =>
  share < 0.001 ? '< 0.1 %' : `${(100 * share).toFixed(1)} %`;

// Bytes of the table of best words; null until it is decoded.
let table = null;

const decode = (best) => {
  table = null;
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement('canvas');
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    table = { ...best, data, width: image.width,
      height: image.height / best.count };
  };
  image.src = best.table;
};

// Words and scores of a place, x and y in [0, 1).
const wordsAt = (x, y) => {
  const column = Math.floor(x * table.width);
  const row = Math.floor(y * table.height);
  const found = [];
  for (let rank = 0; rank < table.count; rank += 1) {
    const start =
      4 * ((rank * table.height + row) * table.width + column);
    const [high, low, level] = table.data.subarray(start, start + 3);
    const score = table.low + ((table.high - table.low) * level) / 255;
    found.push([table.names[256 * high + low], score]);
  }
  return found;
};

const draw = () => {
  const root = element.querySelector('.ovseg-viewer');
  const value = props.value || {};
  root.replaceChildren();
  if (value.message) {
    const kind = value.error ? 'ovseg-message ovseg-error' : 'ovseg-message';
    make('div', kind, root, value.message).setAttribute('role', 'status');
  }
  if (!value.picture) return;
  const colours = Object.fromEntries(
    value.legend.map(({ name, colour }) => [name, `rgb(${colour})`]));
  const stage = make('div', 'ovseg-stage', root);
  // Wide pictures fill the column, tall ones most of the window.
  stage.style.maxWidth = `${62 * value.aspect}vh`;
  const picture = make('img', 'ovseg-picture', stage);
  picture.alt = value.chosen ? `scores of ${value.chosen}` : 'segmentation';
  picture.src = value.picture;
  const tip = make('div', 'ovseg-tip', stage);
  tip.hidden = true;
  const legend = make('div', 'ovseg-legend', root);
  for (const { name, share } of value.legend) {
    const entry = make('button', 'ovseg-entry', legend);
    entry.type = 'button';
    entry.title = 'Show the scores of this class';
    entry.setAttribute('aria-pressed', name === value.chosen);
    make('span', 'ovseg-swatch', entry).style.background = colours[name];
    make('span', 'ovseg-name', entry, name);
    make('span', 'ovseg-share', entry, percent(share));
    entry.addEventListener('click', () => trigger('select', {
      name: name === value.chosen ? null : name,
    }));
  }
  if (!value.legend.length) make('span', '', legend, 'no class found');
  decode(value.best);
  stage.addEventListener('mouseleave', () => { tip.hidden = true; });
  stage.addEventListener('mousemove', (event) => {
    const box = picture.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width / value.part[0];
    const y = (event.clientY - box.top) / box.height / value.part[1];
    tip.hidden = !table || x < 0 || y < 0 || x >= 1 || y >= 1;
    if (tip.hidden) return;
    tip.replaceChildren();
    wordsAt(x, y).forEach(([name, score]) => {
      const line = make('div', 'ovseg-word', tip);
      make('span', '', line, name);
      make('span', 'ovseg-score', line, score.toFixed(2));
    });
    const right = event.clientX - box.left > box.width / 2;
    tip.style.left = right ? '' : `${event.clientX - box.left + 14}px`;
    tip.style.right = right ? `${box.right - event.clientX + 14}px` : '';
    tip.style.top = `${event.clientY - box.top + 14}px`;
  });
};

draw();
watch('value', draw);
