# SPDX-License-Identifier: Apache-2.0
"""Prompt templates: sentences with ``{}`` in place of a class text."""

from collections.abc import Sequence

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.stack import import_stack

_OWN_SETS = {
    'single': ['A photo of a {} in the scene'],
    'imagenet_select': [
        'itap of a {}.',
        'a bad photo of the {}.',
        'a origami {}.',
        'a photo of the large {}.',
        'a {} in a video game.',
        'art of the {}.',
        'a photo of the small {}.',
        'A photo of a {} in the scene',
    ],
    'cascade_clip': [
        'a photo of a {}.',
        'a photo of a small {}.',
        'a photo of a medium {}.',
        'a photo of a large {}.',
        'This is a photo of a {}.',
        'This is a photo of a small {}.',
        'This is a photo of a medium {}.',
        'This is a photo of a large {}.',
        'a {} in the scene.',
        'a photo of a {} in the scene.',
        'There is a {} in the scene.',
        'There is the {} in the scene.',
        'This is a {} in the scene.',
        'This is the {} in the scene.',
        'This is one {} in the scene.',
    ],
}
# Templates that MaskCLIP adds to the 80 templates of ImageNet.
_MASKCLIP = [
    'there is a {} in the scene.',
    'there is the {} in the scene.',
    'this is a {} in the scene.',
    'this is the {} in the scene.',
    'this is one {} in the scene.',
]
_MMSEG_SETS = ('imagenet', 'vild')


def get_templates(spec: str | Sequence[str]) -> list[str]:
    """Get the prompt templates of a named set, or check a list of templates.

    Args:
        spec (str | Sequence[str]): Name of a set, or a list of templates. The
            sets and their numbers of templates are ``'single'`` (1),
            ``'imagenet'`` (80), ``'imagenet_select'`` (8), ``'vild'`` (14),
            ``'cascade_clip'`` (15) and ``'maskclip'`` (85).

    Returns:
        list[str]: Templates. Each contains exactly one ``{}``, where the
        class text is inserted.

    Raises:
        InputError: If the name is unknown, or a template does not contain
            exactly one ``{}``.
    """
    if isinstance(spec, str):
        if spec in _OWN_SETS:
            return list(_OWN_SETS[spec])
        if spec in _MMSEG_SETS:
            return _mmseg_templates(spec)
        if spec == 'maskclip':
            return [*_mmseg_templates('imagenet'), *_MASKCLIP]
        known = ', '.join(sorted([*_OWN_SETS, *_MMSEG_SETS, 'maskclip']))
        raise InputError(
            f'there is no template set {spec!r}; choose one of {known}, or '
            'give a list of templates'
        )
    templates = list(spec)
    if not templates:
        raise InputError(
            'the list of prompt templates is empty; give at least one template'
        )
    for template in templates:
        if not isinstance(template, str) or (
            template.count('{}'),
            template.count('{'),
            template.count('}'),
        ) != (1, 1, 1):
            raise InputError(
                f'the prompt template {template!r} must be a string with '
                'exactly one {}, the place of the class text, and no other '
                'braces'
            )
    return templates


def _mmseg_templates(name: str) -> list[str]:
    # Imported here, because the import takes seconds.
    import_stack()
    from mmseg.utils import get_predefined_templates

    return list(get_predefined_templates(name))
