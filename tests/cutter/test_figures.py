"""What a cutter says in metrics of the work that it does."""

import uuid

from prometheus_client import REGISTRY

from cutters import House


def figures() -> dict[str, float]:
    """Give what counts rough cuts and deliveries to the place, by the end of its name."""
    names = {
        "event_queue_wait_seconds_count": {},
        "event_cut_work_ratio_count": {"type": "rough"},
        "event_cut_media_seconds_total": {"type": "rough"},
        "delivered_bytes_total": {"location": "fake"},
        "event_delivery_seconds_count": {"location": "fake", "error": ""},
        "claims_lapsed_total": {"state": "EDITED"},
    }
    return {name: REGISTRY.get_sample_value(f"respool_{name}", labels) or 0.0 for name, labels in names.items()}


async def test_a_video_is_measured(house: House) -> None:
    """The wait for a claim, the work for each second of video, and the bytes that were delivered are measured."""
    before = figures()
    async with house.cutter():
        await house.add(range=(0.5, 3.0))
        await house.until(state="DONE")
    grown = {name: value - before[name] for name, value in figures().items()}
    assert grown == {
        "event_queue_wait_seconds_count": 1,
        "event_cut_work_ratio_count": 1,
        "event_cut_media_seconds_total": 2.5,
        "delivered_bytes_total": sum(map(len, house.place.contents.values())),
        "event_delivery_seconds_count": 1,
        "claims_lapsed_total": 0,
    }


async def test_a_claim_that_lapses_is_counted(house: House) -> None:
    """Who frees the event of a cutter that fell silent counts it, and what became of the event."""
    before = figures()["claims_lapsed_total"]
    await house.add(uploader="gone")
    await house.sql.execute(
        "UPDATE events SET state = 'CLAIMED', uploader = 'gone', claim_token = $1, lease_until = now()", uuid.uuid4()
    )
    async with house.cutter():
        await house.until(state="DONE")
    assert figures()["claims_lapsed_total"] == before + 1
