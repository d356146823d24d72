"""Segment by an ONNX model: MODEL.onnx IMAGE RESULT.png [WORDS.npz]."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, picture, result, *words = sys.argv[1:]
facts, inputs = json.load(open(f'{model}.json', encoding='utf-8')), {}
if words:  # text embeddings, for a model that has no words of its own
    arrays = np.load(words[0])
    facts.update(json.loads(str(arrays['facts'])))
    inputs['text'] = arrays['text']
    most = facts['input']['text']['most'] or len(arrays['text'])
    assert len(arrays['text']) <= most, f'give at most {most} texts'
how, vocabulary = facts['protocol'], facts['vocabulary']
session = onnxruntime.InferenceSession(model)
image = Image.open(picture).convert('RGB')
size = how['size'] or image.size  # all sizes are (width, height)
if how['keep_ratio']:
    pairs = zip(sorted(size), sorted(image.size))
    factor = min(wanted / side for wanted, side in pairs)
    size = [round(side * factor) for side in image.size]
w, h = how['window'] or size
W, H = (max(pair) for pair in zip(size, (w, h)))
across, down = how['stride'] or size
pixels = np.asarray(image.resize((W, H)), np.float32).transpose(2, 0, 1)
total = np.zeros((len(vocabulary['labels']) + 1, H, W), np.float32)
for y in (min(at, H - h) for at in range(0, H - h + down, down)):
    for x in (min(at, W - w) for at in range(0, W - w + across, across)):
        inputs['images'] = pixels[None, :, y : y + h, x : x + w]
        total[:-1, y : y + h, x : x + w] += session.run(None, inputs)[0][0]
        total[-1, y : y + h, x : x + w] += 1  # windows of each pixel
scores = [Image.fromarray(text).resize(image.size, 2) for text in total]
scores = np.stack(scores[:-1]) / np.asarray(scores[-1])
labels = np.array(vocabulary['labels'])[scores.argmax(axis=0)]
palette = np.array([*vocabulary['palette'], [0, 0, 0]], np.uint8)
Image.fromarray(palette[labels.clip(max=len(palette) - 1)]).save(result)
