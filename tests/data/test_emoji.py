"""The shipped emoji."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffedu.data import asset, emoji


def test_shapes_types_and_range():
    for split, count in (("train", 1711), ("test", 200)):
        found = emoji(split)
        assert found.images.shape == (count, 3, 32, 32)
        assert found.images.dtype == torch.float32
        assert found.images.is_contiguous()
        assert found.images.min() == -1
        assert found.images.max() == 1
        assert len(found.captions) == len(found.category) == len(found.subcategory) == count
        assert all(isinstance(word, str) for word in (*found.captions, *found.category, *found.subcategory))
        assert found.category_codes.dtype == found.subcategory_codes.dtype == torch.int64


def test_order_is_pinned():
    assert emoji("test").captions[:4] == ["writing hand", "rosette", "clock8", "genie"]


def test_codes_name_the_strings_in_both_splits():
    train, test = emoji("train"), emoji("test")
    assert train.categories == test.categories == sorted(set(train.category) | set(test.category))
    assert len(train.categories) == 10
    assert train.subcategories == test.subcategories
    assert len(train.subcategories) == 99
    for part in (train, test):
        assert [part.categories[code] for code in part.category_codes.tolist()] == part.category
        assert [part.subcategories[code] for code in part.subcategory_codes.tolist()] == part.subcategory


def test_images_keep_their_captions_and_channels():
    with np.load(asset("emoji32.npz"), allow_pickle=False) as file:
        shipped = dict(zip(file["names"].tolist(), file["images"]))
        category = dict(zip(file["names"].tolist(), file["category"].tolist()))
    seen = set()
    for split in ("train", "test"):
        part = emoji(split, scale=(0.0, 255.0))
        for image, caption, kind in zip(part.images.byte().numpy(), part.captions, part.category):
            assert (image.transpose(1, 2, 0) == shipped[caption]).all()
            assert category[caption] == kind
            seen.add(caption)
    assert len(seen) == 1911


def test_a_heart_is_red_and_its_paper_white():
    part = emoji("train")
    red, green, blue = part.images[part.captions.index("heart")].mean(dim=(1, 2))
    assert red > green + 0.2
    assert red > blue + 0.2
    assert (part.images[:, :, 0, 0] == 1).all(dim=1).double().mean() > 0.9


def test_equal_images_never_straddle_the_split():
    train = [image.tobytes() for image in emoji("train").images.numpy()]
    test = [image.tobytes() for image in emoji("test").images.numpy()]
    assert len(train) + len(test) - len({*train, *test}) == 14
    assert not {*train} & {*test}


def test_unknown_split_gets_the_nearest():
    with pytest.raises(ValueError, match=r"unknown split 'Test'; did you mean 'test'"):
        emoji("Test")
