"""Studies to report, written as a search writes them, without training."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from lightning_hp import Choice, Int, Log, ReverseLog, Space, Study, Trial
from lightning_hp.attempts import FILE, Circumstances
from lightning_hp.study.config import write_config
from lightning_hp.study.store import Store
from lightning_hp.trial import RoundBegan, trial_folder

SPACE = Space({"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.999), "layers": Int(1, 3), "act": Choice("relu", "tanh")})
REASONS = {"failed": "KeyError: 'none'", "diverged": "loss is nan in epoch 3", "pruned": "stopped at epoch 3"}


def trial(number, hparams, state="complete", epochs=6, **changes):
    """One whose val_loss falls towards a value that its hyperparameters decide."""
    worth = 0.05 + sum(abs(math.sin(len(name) + 3 * float(str(value).encode()[-1] % 7))) for name, value in hparams.items())
    curve = [worth + 2.0 * 0.5**epoch for epoch in range(epochs)]
    settings = {
        "seed": 100 + number,
        "state": state,
        "value": min(curve) if state in ("complete", "pruned") and curve else None,
        "epochs": epochs,
        "metrics": {"val_loss": curve},
        "reason": REASONS.get(state),
        "traceback": "Traceback of mine" if state == "failed" else None,
    }
    return Trial(number, hparams, **{**settings, **changes})


def trials(states, space=SPACE):
    points = zip(space.sample(len(states)), states, strict=True)
    return [trial(number, hparams, state) for number, (hparams, state) in enumerate(points)]


def study(root, made, space=SPACE, rounds=(), model="mine.Lit", **asked):
    """A study of these trials, each a second long, two at a time."""
    root.mkdir(exist_ok=True)
    store = Store(root, create=True)
    settings = {"model": "Lit", "monitor": "val_loss", "mode": "min", "total": len(made), "seed": 7, "space": space.describe()}
    rows = ((each, number // 2, None if each.state == "running" else number // 2 + 1.0) for number, each in enumerate(made))
    store.fill({**settings, **asked}, rows, rounds)
    store.close()
    write_config(root, {"model": {"class_path": model}} if model is not None else {"trainer": {}})
    return Study(root)


def trained_on(root, number, *attempts):
    """Writes a conditions.jsonl: host and device of each attempt."""
    folder = trial_folder(root, number)
    folder.mkdir(parents=True, exist_ok=True)
    for host, device in attempts:
        here = Circumstances(host, device, devices=1, threads=4, torch="2.9", together=1)
        with (folder / FILE).open("a") as file:
            file.write(f"{json.dumps(asdict(here))}\n")


def region(space, first):
    """A round that looks at the middle of each scale."""
    parts = {name: {"unit": [0.25, 0.75]} for name in space if not isinstance(space[name], Choice)}
    parts |= {name: {"weights": {str(v): 0.5 for v in space[name].values}} for name in space if isinstance(space[name], Choice)}
    return RoundBegan(first, f"0-{first - 1}", {"region": parts, "trials_used": first})


def babysat(root, number, *records):
    """Writes a babysit.jsonl: an event, a reason and the actions of each record."""
    folder = trial_folder(root, number)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "event": event,
            "epoch": index,
            "step": 10 * index,
            "batch": 10 * index,
            "reason": reason,
            "detail": {"actions": [{"action": action} for action in actions]},
            "before": [{"lr": 0.1, "momentum": 0.9}],
            "after": [{"lr": 0.05, "momentum": 0.9}],
        }
        for index, (event, reason, actions) in enumerate(records)
    ]
    (folder / "babysit.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
