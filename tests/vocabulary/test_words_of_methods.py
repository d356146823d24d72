# SPDX-License-Identifier: Apache-2.0
"""Configs have the class texts that their method was evaluated with.

Lists of the same classes differ in their words, and so do the results.
"""

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from ovseg_mm.models.text_encoder import TextBank
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import load_vocabulary

# detectron2's words for ADE20K, where they are not CAT-Seg's: whole entries
# that begin with CAT-Seg's word, and other words.
ADE150_LONGER = """
    road, route; sidewalk, pavement; earth, ground; mountain, mount;
    painting, picture; rock, stone; wardrobe, closet, press;
    base, pedestal, stand; column, pillar; signboard, sign;
    chest of drawers, chest, bureau, dresser; refrigerator, icebox;
    grandstand, covered stand; case, display case, showcase, vitrine;
    pool table, billiard table, snooker table; screen door, screen;
    stairway, staircase; bridge, span; blind, screen;
    toilet, can, commode, crapper, pot, potty, stool, throne;
    palm, palm tree; hovel, hut, hutch, shack, shanty;
    awning, sunshade, sunblind; land, ground, soil;
    bannister, banister, balustrade, balusters, handrail;
    escalator, moving staircase, moving stairway;
    ottoman, pouf, pouffe, puff, hassock; buffet, counter, sideboard;
    poster, posting, placard, notice, bill, card;
    conveyer belt, conveyor belt, conveyer, conveyor, transporter;
    washer, automatic washer, washing machine; plaything, toy; barrel, cask;
    basket, handbasket; minibike, motorbike; food, solid food; step, stair;
    tank, storage tank; blanket, cover; hood, exhaust hood;
    glass, drinking glass
"""
ADE150_OTHER = {
    'windowpane': 'window',
    'bathtub': 'tub',
    'railing': 'rail',
    'streetlight': 'street lamp',
    'television receiver': 'tv',
    'airplane': 'plane',
    'apparel': 'clothes',
    'swimming pool': 'pool',
    'waterfall': 'falls',
    'ashcan': 'trash can',
}
# Classes of PASCAL-Context 459 that CAT-Seg writes without blanks.
PC459_SPACED = """
    air conditioner; baby carriage; bamboo weaving; baseball bat;
    basketball backboard; bird cage; bird feeder; bird nest; bottle opener;
    cabinet door; camera lens; candle holder; casette recorder;
    cash register; cd player; cell phone; clothes tree; coffee machine;
    control booth; copying machine; cutting board; disc case;
    drink dispenser; drinking machine; drum kit; electric fan; electric iron;
    electric pot; electric saw; electronic keyboard; exhibition booth;
    fax machine; ferris wheel; fire extinguisher; fire hydrant; fire place;
    fish tank; fishing net; fishing pole; game controller; game machine;
    gas cylinder; gas hood; gas stove; gift box; glass marble; hand cart;
    hard disk drive; horse-drawn carriage; hot-air balloon; inflator pump;
    ironing board; kitchen range; knife block; ladder truck; life buoy;
    light bulb; match book; meter box; mouse pad; musical instrument;
    oxygen bottle; paper box; paper cutter; pen container; poker chip;
    pool table; range hood; recreational machines; remote control;
    rocking horse; sewing machine; shopping cart; signal light; speed bump;
    spice container; sticky note; surveillance camera; swim ring;
    swimming pool; telephone booth; toy car; trash bin; vacuum cleaner;
    vending machine; video camera; video game console; video player;
    video tape; washing machine; water dispenser; water pipe;
    water skate board; window blinds
"""


def entries(text):
    return [entry.strip() for entry in text.replace('\n', ' ').split(';')]


LONGER = entries(ADE150_LONGER)
SPACED = entries(PC459_SPACED)
TABLE = {'diningtable': 'table'}
# Base list, and what a method calls some of its classes.
DETECTRON2_ADE150 = (
    'ade150',
    {text.partition(', ')[0]: text for text in LONGER} | ADE150_OTHER,
)
SPACED_PC459 = 'pc459', {text.replace(' ', ''): text for text in SPACED}
TABLE_PC59 = 'pc59', TABLE
WORDS = {
    'scan': {
        'ade20k': DETECTRON2_ADE150,
        'ade20k-847': ('ade847', {}),
        'coco-stuff164k': ('coco', {}),
        'pascal-context-459': SPACED_PC459,
        'pascal-context-59': TABLE_PC59,
        'pascal-voc20': ('voc20', {}),
    },
    'zsseg': {
        'ade20k': DETECTRON2_ADE150,
        'ade20k-847': ('ade847', {}),
        'cityscapes': ('cityscapes', {}),
        'coco-stuff164k-156-15': ('coco', {}),
        # no list of the authors'
        'pascal-context-459': ('pc459', {}),
        'pascal-context-59': ('pc59', {}),
        'pascal-voc20': ('voc20', {}),
        'pascal-voc20-15-5': ('voc20', {}),
        # no list of the authors'
        'pascal-voc20b': ('voc20b', {}),
    },
    'cascade_clip': {
        'coco-stuff164k-156-15': ('coco', {}),
        'pascal-context-59': TABLE_PC59,
        'pascal-context-59-49-10': TABLE_PC59,
        'pascal-context-59-49-10-cascade': TABLE_PC59,
        'pascal-voc20': ('voc20', {}),
        'pascal-voc20-15-5': ('voc20', {}),
    },
}


def configs():
    for folder in WORDS:
        for path in sorted(resource('configs', folder).glob('*.py')):
            # Captions, not classes, go with them.
            if 'masked-crops' not in path.stem:
                yield pytest.param(path, id=path.stem)


def words(base, renamed):
    """The texts of a list, as its file has them."""
    texts = [', '.join(t) for t in load_vocabulary(base).class_texts]
    assert renamed.keys() <= set(texts)
    return [renamed.get(text, text).strip() for text in texts]


def encoded(model, vocabulary):
    """What stands for each class in the prompts of a model."""
    bank = TextBank(**{**model.prompts, 'templates': ['{}']})
    prompts = bank.prompts_of(load_vocabulary(vocabulary))
    return [prompt.strip() for prompt in prompts]


@pytest.mark.filterwarnings('ignore:.*entries with the same name')
@pytest.mark.parametrize('path', list(configs()))
def test_texts_that_a_config_encodes(path):
    benchmark = path.stem.rsplit('_', 1)[1].rpartition('-')[0]
    benchmark = benchmark.removesuffix('-transductive')
    expected = words(*WORDS[path.parent.name][benchmark])
    cfg = Config.fromfile(path)
    assert encoded(cfg.model, cfg.model.vocabulary) == expected
    # Names with commas are not cut.
    assert encoded(cfg.model, ['dog, puppy']) == ['dog, puppy']
    # The data set names them likewise.
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        dataset = loader.dataset.get('dataset', loader.dataset)
        known = DATASETS.get(dataset.type)
        named = dataset.get('vocabulary') or known.DEFAULTS['vocabulary']
        assert encoded(cfg.model, named) == expected
    # Training, on COCO-Stuff or on the seen classes, has the same words.
    train = load_vocabulary(cfg.model.get('train_vocabulary', named))
    data = cfg.train_dataloader.dataset
    data = data.get('dataset', data)
    for part in data.get('datasets', [data]):
        named = load_vocabulary(part.vocabulary)
        assert set(train.class_texts) <= set(named.class_texts)


def test_how_many_words_differ():
    assert (len(DETECTRON2_ADE150[1]), len(SPACED_PC459[1])) == (51, 94)


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, id=path.stem)
        for folder in ('cat_seg', 'cat_seg_v1', 'scan', 'toy', 'zsseg')
        for path in sorted(resource('configs', folder).glob('*.py'))[:2]
    ],
)
def test_synonyms_that_a_user_writes_count_in_every_method(path):
    model = Config.fromfile(path).model
    bank = TextBank(**model.get('prompts', {}))
    prompts = bank.prompts_of(load_vocabulary(['sofa|couch', 'sky']))
    assert any('sofa' in prompt for prompt in prompts)
    assert any('couch' in prompt for prompt in prompts)


@pytest.mark.filterwarnings('ignore:.*entries with the same name')
def test_cat_seg_takes_the_first_text_of_the_benchmarks():
    name = 'catseg_clip-vit-b16_4xb1-80k_ade20k-847-640x640.py'
    model = Config.fromfile(resource('configs', 'cat_seg', name)).model
    prompts = TextBank(**model.prompts).prompts_of(load_vocabulary('ade847'))
    names = load_vocabulary('ade847').names
    assert prompts == [f'A photo of a {name} in the scene' for name in names]
