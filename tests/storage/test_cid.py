"""CIDs equal Kubo's, in every form, and hostile bytes are no CID."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from agents.storage import InvalidCid
from agents.storage.cid import UnixFsHasher, cid_of_bytes, cid_of_file, from_text, parse, to_text

# Kubo 0.44: ipfs add --cid-version=1 --raw-leaves --chunker=size-262144 --max-file-links=174
KUBO = {
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    1: "bafkreihy2ihftdpsbb36jwbgerx4gh73iyk4xqczv3e6zds3fckr3bckh4",
    1000: "bafkreiec2g7wfxakaagssvpcznggu4eq4b2tdxjwbesozvfqevwpxod474",
    262143: "bafkreidn3j7u5yb4dd52vwu2ctcl723afu7zri4fbtsksxco5epbm6cduq",
    262144: "bafkreiapdty74yrl5jvscmtuf6ibwrqanq7wiivtmg6zlrpbm62s6p6f6m",
    262145: "bafybeifq2rkyyccavszonr75jyqu6dhalkl5vp3aj56isabauzr3wqfq5i",
    524288: "bafybeibjg2rydc2ef5tsio26mxmp55est2mhipvypv7d2wz4knbrcdhtki",
    1000000: "bafybeihharffzxay6dmz5pindb56e5j4tlcgmtmig5f73nxevdpjja6mmy",
    6654072: "bafybeidwzgk76kmzhyybmfofl6kimxglrdxx32ty4pzdmfv53xc76nksba",
}
# one full node of 174 leaves, one leaf more, and a tree of two levels
KUBO_LARGE = {
    45613056: "bafybeibreqar75cqkjczvmbxvfxqqdhkalr3dlij4favaiqnbko54edalu",
    45613057: "bafybeiept2cvvhkam3zbctq4pb3xsbgeuvwbbqvcwkxmsk4h5lhk5nqfse",
    60000000: "bafybeieij62uv3ouatmsl44cszbuwumkvmam76vgnwjjpi6hj2l7gjagey",
}
# Kubo 0.44 with --chunker=size-64 --max-file-links=3: the deep trees, small
KUBO_DEEP = {
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    63: "bafkreian2a2bz7njeedv3zxwzdoxrmdbiyan3vjvm7mvvgfadtoaxka7am",
    64: "bafkreidmcno6c5dwy7btqf6m4y4zilepnuy2cjvb2hqtctrypcv3mjmvlq",
    65: "bafybeibemw7fw7ivipj4zje4uat7lo6rm3yjoi74uqtlw7mrgultmci77u",
    128: "bafybeidbvc3hgd5smqqolygzouolmqgum534tuqvyq4j2udb6fjpvrovdy",
    192: "bafybeibrzuu6dkkxd3pefoxcxnbs4wteuaxam454bw27kmnuhu3fx4wba4",
    193: "bafybeig3eiusakjfiqe6ammegcunmiqfckzpopusrzci6ag6k55d6k7po4",
    256: "bafybeidltw2kizysm6eph637f34tgdmhkhpsqwlxhmgo7okwgwy3viv2ri",
    576: "bafybeid3svs3sfl3ustrxzfawbb3av6urslj2zhmf76oiaorti5adeqmx4",
    577: "bafybeic77f2olvxv32chiz7dte4e76snvq5njutcono4yc27uf2notsbte",
    640: "bafybeiaqe7frltt7flab5lrxz67i4bp3mq2xvv6j2nbtrzcvmv2xchq2j4",
    1728: "bafybeia3d6qpe2uauhydheyqstt7oxpxshl2ufyzzpdn4spu7t5qrvaesa",
    1729: "bafybeihrs3psbo6tpscnzvms54ekoeqixo62gy4g4chv6z7vu4my6e7ti4",
    2000: "bafybeigc4f4jklswf4w5zzgxlundxghlxlgc5iii5btewqrxf3u7uh3bye",
    5184: "bafybeiaee2oc7b3cdumawbozjrxhepzbv4afzjuzcyx3jclzp7isvvjoxa",
    5185: "bafybeiccv5zqyo6lbjb53qis2bav4svhjonrrz3at2ptz7sla3xdubzyoy",
}


def content(size: int) -> bytes:
    return hashlib.shake_256(b"bfl-agent cid vectors").digest(size)


@pytest.mark.parametrize(("size", "expected"), KUBO.items())
def test_a_file_has_the_cid_that_kubo_gives_it(tmp_path: Path, size: int, expected: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(size))
    assert to_text(cid_of_file(path)) == expected


def test_trees_of_two_levels_have_kubos_cids() -> None:
    largest = content(max(KUBO_LARGE))
    for size, expected in KUBO_LARGE.items():
        assert to_text(cid_of_bytes(memoryview(largest)[:size])) == expected


@pytest.mark.parametrize(("size", "expected"), KUBO_DEEP.items())
def test_deep_trees_have_kubos_cids(size: int, expected: str) -> None:
    hasher = UnixFsHasher(leaf_bytes=64, max_links=3)
    hasher.update(content(size))
    assert to_text(hasher.cid()) == expected


@given(st.binary(max_size=3000), st.lists(st.integers(1, 500), max_size=20))
def test_how_a_stream_is_cut_changes_nothing(data: bytes, cuts: list[int]) -> None:
    whole = UnixFsHasher(leaf_bytes=64, max_links=3)
    whole.update(data)
    pieces = UnixFsHasher(leaf_bytes=64, max_links=3)
    position = 0
    for length in cuts:
        pieces.update(data[position : position + length])
        position += length
    pieces.update(data[position:])
    assert pieces.size == len(data)
    assert pieces.cid() == whole.cid()


def test_memory_does_not_grow_with_the_stream() -> None:
    hasher = UnixFsHasher(leaf_bytes=1, max_links=3)
    hasher.update(bytes(20_000))
    assert all(len(links) <= 3 for links in hasher._levels)
    assert len(hasher._levels) < 12


@given(st.binary(min_size=32, max_size=32), st.sampled_from([b"\x01\x55\x12\x20", b"\x01\x70\x12\x20"]))
def test_text_and_bytes_are_one(digest: bytes, prefix: bytes) -> None:
    assert from_text(to_text(prefix + digest)) == prefix + digest


@given(st.binary(max_size=80))
def test_only_36_bytes_with_a_known_prefix_are_a_cid(data: bytes) -> None:
    valid = len(data) == 36 and data[:4] in (b"\x01\x55\x12\x20", b"\x01\x70\x12\x20")
    if valid:
        assert parse(data) == data
    else:
        with pytest.raises(InvalidCid):
            parse(data)


@given(st.text(max_size=80))
def test_hostile_text_is_no_cid(text: str) -> None:
    with pytest.raises(InvalidCid):
        from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        KUBO[1].upper(),
        KUBO[1] + "=",
        KUBO[1][:-1] + "5",  # the last character's unused bits
        "z" + KUBO[1][1:],
        KUBO[1][:-1],
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "bäf" + KUBO[1][3:],
    ],
)
def test_other_spellings_of_a_cid_are_refused(text: str) -> None:
    with pytest.raises(InvalidCid):
        from_text(text)
