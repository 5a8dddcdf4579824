"""In place of simuleval: "translates" a list, and may break off inside of a line as a killed one does."""

import argparse
import json
import pathlib
import sys
import time


def main():
    parser = argparse.ArgumentParser()
    for name in ("--source", "--target", "--output"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--stop-at", default="nothing")
    parser.add_argument("--seconds", type=float, default=0)
    options, others = parser.parse_known_args()
    options.output.mkdir()
    (options.output / "options.json").write_text(json.dumps(others))
    time.sleep(options.seconds)
    with open(options.output / "instances.log", "w") as log:
        lists = (path.read_text().splitlines() for path in (options.source, options.target))
        for index, (source, target) in enumerate(zip(*lists)):
            fields = {"index": index, "prediction": "of " + source, "reference": target, "source_length": 2.0}
            line = json.dumps({**fields, "delays": [1.0, 2.0], "elapsed": [1.0, 2.0]})
            if source == options.stop_at:
                log.write(line[:20])
                log.flush()
                sys.exit("no recording at " + source)
            log.write(line + "\n")


if __name__ == "__main__":
    main()
