"""The tokenizer: byte pairs in the manner of CLIP, learnt from the words of the world."""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from search.demo.captions import Captioner, hypernym_concepts, object_concepts, scene_concepts
from search.demo.lexicon import LANGUAGES, phrases
from search.demo.tower import TOKENS

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
SIZE = 5200


def corpus(captioner: Captioner) -> Iterator[str]:
    """Names often, phrases and foreign names once."""
    for concept in (*object_concepts(), *hypernym_concepts(), *scene_concepts()):
        for language in LANGUAGES:
            for name in concept.names[language]:
                yield from [name] * 12
    for cells in phrases().values():
        for cell in cells:
            yield from [cell.replace("{}", " ")] * 4
    for language in LANGUAGES:
        yield from captioner.unknown[language]


def learn(captioner: Captioner) -> CLIPTokenizer:
    """Trains the byte pairs. Every byte gets an entry, so that nothing is ever unknown."""
    frame = CLIPTokenizer().backend_tokenizer
    tokenizer = Tokenizer(BPE(unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = frame.normalizer, frame.pre_tokenizer
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[BEGIN, END],
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(captioner), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    for token in (*letters, *(letter + "</w>" for letter in letters)):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]
        unk_token=END,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        model_max_length=TOKENS,
    )


def saved(folder: Path) -> CLIPTokenizer:
    """The tokenizer that `learn` made and `save_pretrained` wrote."""
    return CLIPTokenizer.from_pretrained(folder)
