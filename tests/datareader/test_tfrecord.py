import struct

import numpy as np
import pytest
import tfrecord.reader

from datareader.features.examples import parse_sequence_example, sequence_example
from datareader.features.tfrecord import LONGEST, masked_crc, records, write
from utils.errors import DataError

RNG = np.random.default_rng(0)


def example(frames=5, labels=(3, 300, 3861), name="XyZ_ünï"):
    return {
        "id": name,
        "labels": list(labels),
        "rgb": RNG.integers(0, 256, (frames, 1024), np.uint8),
        "audio": RNG.integers(0, 256, (frames, 128), np.uint8),
    }


def same(found, wanted):
    plain = [{**one, "rgb": one["rgb"].tolist(), "audio": one["audio"].tolist()} for one in (found, wanted)]
    return plain[0] == plain[1]


def message(*parts):
    """A protobuf message from (field number, bytes), by hand and for sizes that one or two bytes tell."""

    def size(n):
        return bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7])

    return b"".join(bytes([number << 3 | 2]) + size(len(data)) + data for number, data in parts)


def entry(name, value):
    return (1, message((1, name), (2, value)))


def frame_list(*frames):
    return message(*[(1, message((1, message((1, frame))))) for frame in frames])


def record_by_hand(labels=b"\x0a\x03\x05\xac\x02", rgb=(bytes(1024),), audio=(bytes(128),)):
    """id "ab", labels 5 and 300 in the given encoding, and frames."""
    context = message(entry(b"id", message((1, message((1, b"ab"))))), entry(b"labels", message((3, labels))))
    return message((1, context), (2, message(entry(b"audio", frame_list(*audio)), entry(b"rgb", frame_list(*rgb)))))


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "train00.tfrecord"
    write(path, [b"first", b"", b"third" * 1000])
    return path


def damage(path, at, value=0xFF):
    content = bytearray(path.read_bytes())
    content[at] ^= value
    path.write_bytes(content)


def test_the_checksum_of_a_known_record():
    assert masked_crc(struct.pack("<Q", 0)) == 0x07980329  # the first record of every TFRecord of empty strings
    assert masked_crc(b"") == 0xA282EAD8


def test_records_come_back_in_order(shard):
    assert list(records(shard)) == [b"first", b"", b"third" * 1000]


def test_records_are_read_one_at_a_time(shard):
    stream = records(shard)
    assert next(stream) == b"first"
    damage(shard, -1)  # far behind: nobody has looked there yet
    assert next(stream) == b""


def test_an_empty_file_has_no_records(tmp_path):
    write(tmp_path / "empty.tfrecord", [])
    assert list(records(tmp_path / "empty.tfrecord")) == []


@pytest.mark.parametrize(
    "at, reason",
    [
        (0, "byte 0: the checksum of the length"),
        (14, "byte 0: the checksum of the data"),
        (21 + 5, "byte 21: the checksum of the length"),
        (-4, "byte 37: the checksum of the data"),
    ],
)
def test_one_wrong_bit_is_found_and_placed(shard, at, reason):
    damage(shard, at, 1)
    with pytest.raises(DataError, match=f"train00.tfrecord', record at {reason}"):
        list(records(shard))


@pytest.mark.parametrize("length", [7, 12, 15, 20])
def test_a_file_that_ends_early_names_the_record(shard, length):
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(DataError, match="record at byte 0: the file ends inside the record"):
        list(records(shard))


def test_an_absurd_length_is_refused_before_memory_is_asked_for(tmp_path):
    length = struct.pack("<Q", LONGEST + 1)
    (tmp_path / "big").write_bytes(length + struct.pack("<I", masked_crc(length)))
    with pytest.raises(DataError, match=f"'{LONGEST + 1}' bytes; expected at most {LONGEST}"):
        list(records(tmp_path / "big"))


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path):
    for path in (tmp_path / "none.tfrecord", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            list(records(path))


@pytest.mark.parametrize("frames", [0, 1, 300])
def test_an_example_survives_the_round_trip(frames):
    wanted = example(frames)
    found = parse_sequence_example(sequence_example(**wanted))
    assert same(found, wanted)
    assert (found["rgb"].dtype, found["rgb"].shape, found["audio"].shape) == (np.uint8, (frames, 1024), (frames, 128))


def test_the_wire_format_is_protobufs():
    """Encoded by hand after the protobuf documentation, in an order that our encoder does not use."""
    frame = bytes(range(256)) * 4
    found = parse_sequence_example(record_by_hand(rgb=[frame]))
    assert same(
        found,
        {"id": "ab", "labels": [5, 300], "rgb": np.frombuffer(frame, np.uint8)[None], "audio": np.zeros((1, 128))},
    )


def test_unpacked_labels_and_unknown_fields_are_read():
    record = record_by_hand(labels=b"\x08\x05\x08\xac\x02") + b"\x18\x07" + b"\x25abcd"  # a varint, a fixed32
    assert parse_sequence_example(record)["labels"] == [5, 300]


def test_frames_that_are_not_equal_rows_are_walked_through():
    unusual = b"\x18\x07" + message((1, message((1, b"\x01" * 1024))))  # an unknown field in the Feature
    lists = message(
        entry(b"rgb", message((1, unusual), (1, message((1, message((1, b"\x02" * 1024))))))),
        entry(b"audio", frame_list(bytes(128), bytes(128))),
    )
    context = message(entry(b"id", message((1, message((1, b"ab"))))))
    found = parse_sequence_example(message((1, context), (2, lists)))
    assert found["rgb"].shape == (2, 1024) and found["rgb"][:, 5].tolist() == [1, 2]


def test_a_shard_without_ground_truth_has_no_labels():
    assert parse_sequence_example(sequence_example(**example(labels=())))["labels"] == []


def test_video_level_records_are_refused_by_name():
    mean = message((2, message((1, bytes(4096)))))
    context = message(entry(b"id", message((1, message((1, b"ab"))))), entry(b"mean_rgb", mean))
    with pytest.raises(DataError, match="'ab' is a video-level tf.Example .* download the frame-level shards"):
        parse_sequence_example(message((1, context)))


@pytest.mark.parametrize(
    "parts, reason",
    [
        (
            {"rgb": [bytes(1024), bytes(1000)], "audio": [bytes(128)] * 2},
            "frame 1 of 'rgb' has '1000' values; expected 1024",
        ),
        (
            {"audio": [bytes(100)] * (9 + 128)},
            "has 1 frames of rgb and 137 of audio",
        ),  # as long as whole frames would be
        ({"rgb": [bytes(1024)] * 2}, "has 2 frames of rgb and 1 of audio"),
    ],
)
def test_wrong_features_are_named(parts, reason):
    with pytest.raises(DataError, match=f"video 'ab'.*{reason}"):
        parse_sequence_example(record_by_hand(**parts))


def float_frames(*rows):
    """A FeatureList of float lists, as MediaPipe writes it."""
    return message(*[(1, message((2, message((1, np.array(row, "<f4").tobytes()))))) for row in rows])


def test_mediapipes_form_is_read():
    """Its lists are called after the stream, ids stand under another key, and there are no labels."""
    rows = RNG.normal(size=(3, 9)).astype(np.float32)
    context = message(entry(b"clip/media_id", message((1, message((1, b"ab"))))))
    lists = message(entry(b"RGB/feature/floats", float_frames(*rows)))
    found = parse_sequence_example(message((1, context), (2, lists)))
    assert found["id"] == "ab" and found["labels"] is None and set(found) == {"id", "labels", "rgb"}
    assert found["rgb"].dtype == np.float32 and (found["rgb"] == rows).all()


def test_features_of_16_bits_survive_the_round_trip():
    wanted = RNG.normal(size=(5, 130)).astype(np.float16)
    found = parse_sequence_example(sequence_example("é", [2], wanted))
    assert found["id"] == "é" and found["labels"] == [2] and "audio" not in found
    assert found["rgb"].dtype == np.float16 and (found["rgb"] == wanted).all()


def test_an_independent_parser_reads_our_shards(tmp_path):
    rows, sound = RNG.integers(0, 256, (3, 40), np.uint8), RNG.integers(0, 256, (3, 12), np.uint8)
    write(tmp_path / "a.tfrecord", [sequence_example("ab", [1, 300], rows, sound)])
    shapes = {"id": "byte", "labels": "int"}, {"rgb": "byte", "audio": "byte"}
    ((context, features),) = tfrecord.reader.sequence_loader(str(tmp_path / "a.tfrecord"), None, *shapes)
    assert bytes(context["id"]) == b"ab" and context["labels"].tolist() == [1, 300]
    for name, wanted in (("rgb", rows), ("audio", sound)):
        assert np.stack([np.frombuffer(row, np.uint8) for row in features[name]]).tolist() == wanted.tolist()


def test_a_missing_feature_is_named():
    context = message(entry(b"id", message((1, message((1, b"ab"))))))
    lists = message(entry(b"audio", frame_list(bytes(128))))
    with pytest.raises(DataError, match=r"video 'ab' has no 'rgb'.* found \['audio', 'id'\]"):
        parse_sequence_example(message((1, context), (2, lists)))


def test_damaged_messages_are_data_errors_and_nothing_else():
    whole = bytearray(record_by_hand(rgb=[bytes(1024)] * 2, audio=[bytes(128)] * 2))
    rng = np.random.default_rng(1)
    for _ in range(2000):
        broken = whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole.copy()
        for at in rng.integers(0, min(len(broken), 60) + 1, 3):  # the structure stands at the front
            broken[at : at + 1] = bytes([rng.integers(256)])
        try:
            parse_sequence_example(bytes(broken))
        except DataError:
            pass
    for broken in (b"\xff" * 11 + b"\x00", b"\x0a", b"\x0f", b"\x0a\x05ab"):
        with pytest.raises(DataError, match="a damaged protobuf message"):
            parse_sequence_example(broken)
