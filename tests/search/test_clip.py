"""Encoders run: unit vectors, the same for one or many, for every architecture that we support."""

import gzip
import json
import os
import shutil
import threading
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from search import clip, encoders
from search.encoders import (
    EncoderError,
    EncodingError,
    ModelNotAvailable,
    UnsafeWeights,
    UnsupportedModel,
    spec_for,
)
from search.geometry import Geometry
from tests.search.test_geometry import noise
from tests.search.tiny_models import clip_model, clip_tokenizer, demo_model, dual_model, siglip2_model

DATA = Path(os.environ.get("LOUPE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MINI = DATA / "models" / "mini-photo-encoder"
needs_mini = pytest.mark.skipif(not MINI.is_dir(), reason=f"no photo model at {MINI} (LOUPE_TEST_DATA)")
IMAGES = [noise(*size) for size in [(300, 200), (91, 400), (64, 64), (500, 480), (20, 700)]]
TEXTS = ["a dog", "", "two red boats on a very calm sea in the evening", "Katze"]
BUILD = {
    "clip-b32": clip_model,
    "clip-b16": lambda folder: clip_model(folder, "base-patch16"),
    "clip-l14": lambda folder: clip_model(folder, "large-patch14"),
    "siglip2": siglip2_model,
    "dual": dual_model,
    "demo": demo_model,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    return {kind: build(base / kind) for kind, build in BUILD.items()}


@pytest.fixture(scope="module")
def loaded(folders):
    return {kind: clip.load(spec_for(folder), dtype="float32") for kind, folder in folders.items()}


@pytest.fixture(params=sorted(BUILD))
def encoder(request, loaded):
    return loaded[request.param]


@pytest.fixture
def clip_folder(folders, tmp_path):
    return shutil.copytree(folders["clip-b32"], tmp_path / "model")


def test_vectors_have_the_announced_dimension_and_unit_norm(encoder):
    seen, read = encoder.encode_images(IMAGES), encoder.encode_texts(TEXTS)
    assert seen.shape == (len(IMAGES), encoder.dimension)
    assert read.shape == (len(TEXTS), encoder.dimension)
    assert seen.dtype == read.dtype == np.float32
    assert np.allclose(np.linalg.norm(np.vstack([seen, read]), axis=1), 1, atol=1e-5)


def test_a_batch_gives_what_single_pictures_give(encoder):
    alone = np.vstack([encoder.encode_images([image]) for image in IMAGES])
    assert np.abs(encoder.encode_images(IMAGES) - alone).max() < 1e-5


def test_a_batch_gives_what_single_texts_give(encoder):
    alone = np.vstack([encoder.encode_texts([text]) for text in TEXTS])
    assert np.abs(encoder.encode_texts(TEXTS) - alone).max() < 1e-5


def test_the_order_of_a_long_list_is_kept(encoder):
    order = [2, 0, 1, 4, 3] * 8
    vectors = encoder.encode_images([IMAGES[i] for i in order])
    assert np.abs(vectors - encoder.encode_images(IMAGES)[order]).max() < 1e-5


def test_nothing_in_nothing_out(encoder):
    assert encoder.encode_images([]).shape == encoder.encode_texts([]).shape == (0, encoder.dimension)


def test_text_beyond_the_model_length_is_cut(encoder):
    ids = encoder.token_ids(["word " * 100_000])
    assert len(ids[0]) == encoder.text_rule["max_length"]
    assert np.isfinite(encoder.encode_texts(["word " * 100_000])).all()


def test_clip_truncates_at_77_and_keeps_the_end_token(loaded):
    ids = loaded["clip-b32"].token_ids(["x y " * 200])[0]
    assert (len(ids), ids[0], ids[-1]) == (77, 512, 513)


def test_one_text_alone_is_not_padded(loaded):
    assert len(loaded["clip-b32"].token_ids(["dog"])[0]) == 5


def test_a_batch_of_texts_is_padded_to_its_longest(loaded):
    assert [len(ids) for ids in loaded["clip-b32"].token_ids(["dog", "horses"])] == [8, 8]


def test_siglip_text_is_lower_case_and_padded_on_the_right_to_64(loaded):
    ids = loaded["siglip2"].token_ids(["Dog"])[0]
    assert ids == loaded["siglip2"].token_ids(["dog"])[0]
    assert (len(ids), ids[-1]) == (64, 0)
    assert ids[0] != 0


def test_odd_strings_do_not_stop_a_batch(encoder):
    vectors = encoder.encode_texts(["\ud800", "\x00\n\t", "👩‍👩‍👧", "é" * 10_000, "‮x"])
    assert np.isfinite(vectors).all()


def test_the_answer_equals_the_libraries_own(folders, loaded):
    import torch
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model = CLIPModel.from_pretrained(folders["clip-b32"]).eval()
    tokens = clip_tokenizer()(
        TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    pictures = [IMAGES[0], IMAGES[2], IMAGES[3]]
    pixels = CLIPImageProcessorPil()(pictures, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        seen = model.get_image_features(pixel_values=pixels).pooler_output
        read = model.get_text_features(**tokens).pooler_output
    theirs = torch.nn.functional.normalize(seen).numpy(), torch.nn.functional.normalize(read).numpy()
    assert np.abs(loaded["clip-b32"].encode_images(pictures) - theirs[0]).max() < 1e-5
    assert np.abs(loaded["clip-b32"].encode_texts(TEXTS) - theirs[1]).max() < 1e-5


def test_an_extreme_strip_is_cheap(loaded):
    started = time.perf_counter()
    loaded["clip-b32"].encode_images([Image.new("P", (32, 58128))])
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("kind", sorted(BUILD))
def test_bfloat16_agrees_with_float32(folders, loaded, kind):
    half = clip.load(spec_for(folders[kind]), dtype="bfloat16")
    assert half.dtype == "bfloat16"
    assert half.sha256 == loaded[kind].sha256
    assert clip.agreement(loaded[kind], half, IMAGES, TEXTS) > clip.AGREEMENT


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_an_unknown_precision_is_refused(clip_folder, settings, dtype):
    settings.LOUPE_DTYPE = dtype
    with pytest.raises(EncoderError, match="LOUPE_DTYPE"):
        clip.load(spec_for(clip_folder))


def test_auto_keeps_float32_where_bfloat16_strays(loaded, folders):
    stray = clip.load(spec_for(folders["clip-b32"]), dtype="bfloat16")
    stray._model.visual_projection.weight[:32] *= -1
    assert clip.faster(loaded["clip-b32"], stray) is loaded["clip-b32"]


def test_auto_keeps_the_winner_of_the_clock(loaded, folders, monkeypatch):
    full, half = loaded["clip-b32"], clip.load(spec_for(folders["clip-b32"]), dtype="bfloat16")
    monkeypatch.setattr(clip, "_seconds", lambda encoder, images: 1.0 if encoder is half else 2.0)
    assert clip.faster(full, half) is half
    monkeypatch.setattr(clip, "_seconds", lambda encoder, images: 2.0 if encoder is half else 1.0)
    assert clip.faster(full, half) is full


def test_cuda_that_is_not_there_is_an_error(clip_folder, settings):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    settings.LOUPE_DEVICE = "cuda"
    with pytest.raises(EncoderError, match="LOUPE_DEVICE"):
        clip.load(spec_for(clip_folder))


def test_the_batch_is_halved_until_it_fits():
    import torch

    sizes = []

    def run(items):
        sizes.append(len(items))
        if len(items) > 3:
            raise torch.OutOfMemoryError
        return np.array(items)

    parts, size = clip.in_batches(run, list(range(10)), 16)
    assert (sizes, size) == ([10, 8, 4, 2, 2, 2, 2, 2], 2)
    assert np.concatenate(parts).tolist() == list(range(10))


def test_a_single_item_that_does_not_fit_is_an_error():
    import torch

    def run(items):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        clip.in_batches(run, [1, 2], 2)


def test_damaged_weights_that_answer_nan_are_an_error(clip_folder):
    encoder = clip.load(spec_for(clip_folder), dtype="float32")
    encoder._model.visual_projection.weight[0, 0] = float("nan")
    with pytest.raises(EncodingError, match="item 0 of 5"):
        encoder.encode_images(IMAGES)


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_a_vector_without_direction_is_an_error(value):
    with pytest.raises(EncodingError, match="item 1 of 2"):
        clip.unit(np.array([[1.0, 0.0], [value, 0.0]], dtype=np.float32), 2)


def test_a_bare_tensor_is_accepted():
    import torch

    assert clip.projected(torch.ones(1, 2, dtype=torch.bfloat16)).tolist() == [[1.0, 1.0]]


def test_weights_that_lack_a_tensor_are_refused(clip_folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(clip_folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, clip_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"visual_projection\.weight"):
        clip.load(spec_for(clip_folder))


def test_truncated_weights_are_refused(clip_folder):
    weights = clip_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelNotAvailable, match="cannot be loaded"):
        clip.load(spec_for(clip_folder), dtype="float32")


def test_pickled_weights_are_not_opened(clip_folder):
    (clip_folder / "model.safetensors").rename(clip_folder / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights):
        clip.load(spec_for(clip_folder))


def test_code_in_a_model_directory_never_runs(clip_folder):
    (clip_folder / "evil.py").write_text(f"open({str(clip_folder / 'ran')!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((clip_folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
    (clip_folder / "config.json").write_text(json.dumps(config))
    clip.load(spec_for(clip_folder), dtype="float32")
    assert not (clip_folder / "ran").exists()


def test_a_process_loads_a_model_once(clip_folder, monkeypatch):
    encoders.release_encoders()
    calls = []
    load = clip.load
    monkeypatch.setattr(clip, "load", lambda spec: calls.append(spec) or load(spec, dtype="float32"))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(encoders.get_encoder(clip_folder))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len({id(encoder) for encoder in found}) == 1
    assert encoders.loaded_encoders() == (str(clip_folder),)
    encoders.release_encoders()


def test_threads_may_encode_at_once(loaded):
    encoder = loaded["clip-b32"]
    wanted = [encoder.encode_texts(["dog " * n]) for n in range(1, 9)]
    got = {}
    threads = [
        threading.Thread(target=lambda n=n: got.update({n: encoder.encode_texts(["dog " * n])}))
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.allclose(got[n], wanted[n - 1], atol=1e-6) for n in range(1, 9))


def test_the_thread_setting_is_applied(clip_folder, settings):
    import torch

    before = torch.get_num_threads()
    settings.LOUPE_TORCH_THREADS = 1
    clip.load(spec_for(clip_folder), dtype="float32")
    assert torch.get_num_threads() == 1
    clip.set_threads(before)


@pytest.mark.parametrize("kind", sorted(BUILD))
def test_check_model_passes_on_a_sound_model(folders, settings, kind):
    settings.LOUPE_DTYPE = "float32"
    out = StringIO()
    call_command("check_model", str(folders[kind]), stdout=out)
    assert out.getvalue().count("\nok ") == 7


def test_check_model_fails_where_published_answers_are_missed(folders, settings, tmp_path):
    settings.LOUPE_DTYPE = "float32"
    checks = tmp_path / "golden-checks"
    checks.mkdir()
    IMAGES[0].save(checks / "a.png")
    rule = {"image": "a.png", "texts": ["a cat", "a dog"], "expected_logits_per_image": [24.57, 19.3]}
    (checks / "golden.json").write_text(json.dumps({"published": rule}))
    out = StringIO()
    with pytest.raises(CommandError, match="1 of 8"):
        call_command("check_model", str(folders["clip-b32"]), golden=str(tmp_path), stdout=out)
    assert "FAIL  published" in out.getvalue()


def test_check_model_of_an_absent_model_says_what_to_do(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CommandError, match="fetch_model openai/clip-vit-base-patch32"):
        call_command("check_model", "openai/clip-vit-base-patch32")


@pytest.fixture(scope="module")
def mini():
    return clip.load(spec_for(MINI), dtype="float32")


def photographs(per_set: int) -> list[dict]:
    lines = (DATA / "photos" / "manifest.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["set"] == "caltech101"][:: max(1, 1212 // per_set)][:per_set]


@needs_mini
def test_a_real_model_names_real_photographs(mini):
    rows = photographs(40)
    labels = sorted(
        {json.loads(line)["label"] or "" for line in (DATA / "photos" / "manifest.jsonl").open()} - {""}
    )
    seen = mini.encode_images([Image.open(DATA / "photos" / row["file"]) for row in rows])
    read = mini.encode_texts([f"a photo of a {label.replace('_', ' ')}" for label in labels])
    named = [labels[best] for best in (seen @ read.T).argmax(axis=1)]
    assert np.mean([name == row["label"] for name, row in zip(named, rows, strict=True)]) > 0.6


@needs_mini
def test_the_published_vocabulary_gives_the_published_ids(mini):
    assert mini.token_ids(["a photo of a cat"]) == [[49406, 320, 1125, 539, 320, 2368, 49407]]


@needs_mini
def test_ids_agree_with_the_original_vocabulary_file(mini):
    with gzip.open(DATA / "clip" / "bpe_simple_vocab_16e6.txt.gz", "rt") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    place = {"".join(merge.split()): 512 + i for i, merge in enumerate(merges)}
    for word in ("photo", "dog", "sunset", "airplane"):
        assert mini.token_ids([word])[0][1] == place[word + "</w>"]


@needs_mini
def test_a_transparent_photograph_stays_near_its_flat_twin(mini):
    photo = Image.open(DATA / "photos" / photographs(1)[0]["file"]).convert("RGB")
    vectors = mini.encode_images([photo, photo.convert("RGBA")])
    assert vectors[0] @ vectors[1] > 0.9999


def test_geometry_is_the_models_own(loaded):
    assert loaded["siglip2"].geometry == Geometry.from_config(
        {"size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    )
