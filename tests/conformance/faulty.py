"""Programs that are at fault, by name: ``python faulty.py hangs`` reads requests and does what it is called."""

import json
import sys
import time


def answer(request, **rest):
    return json.dumps({"id": request["id"], **(rest or {"segments": whole(request)})})


def whole(request):
    """One segment in which nothing is frozen, if any."""
    start, total = request["start"], request["total"]
    return [{"start": start, "stop": total, "frozen": []}] if start < total else []


def main(name):
    for count, line in enumerate(sys.stdin):
        request = json.loads(line)
        match name:
            case "right":
                print(answer(request), flush=True)
            case "hangs":
                time.sleep(60)
            case "hangs-without-newline":
                print('{"id":', end="", flush=True)
                time.sleep(60)
            case "crashes":
                raise ZeroDivisionError("on purpose")
            case "crashes-later" if count == 5:
                print("last words", file=sys.stderr)
                sys.exit(7)
            case "ends":
                return
            case "rubbish":
                print("loading model ... done", flush=True)
            case "not-an-object":
                print("[]", flush=True)
            case "not-a-number":
                print(
                    answer(request, segments=[{"start": 0, "stop": 1, "frozen": [], "learning_rate": float("nan")}]),
                    flush=True,
                )
            case "wrong-id":
                print(answer(request | {"id": "mine"}), flush=True)
            case "no-id":
                print(json.dumps({"segments": whole(request)}), flush=True)
            case "twice":
                print(answer(request), answer(request), sep="\n", flush=True)
            case "one-late":
                print(answer(request | {"id": f"c{max(1, count)}"}), flush=True)
            case "unknown-error":
                print(answer(request, error="bad-window"), flush=True)
            case "no-answer-in-it":
                print(answer(request, schedule=[]), flush=True)
            case "wrong-type":
                print(answer(request, segments=[{"start": "0", "stop": 1, "frozen": []}]), flush=True)
            case "unsupported-when-hard" if request["total"] > 5:
                print(answer(request, unsupported=True), flush=True)
            case "supports-nothing":
                print(answer(request, unsupported=True), flush=True)
            case _:
                print(answer(request), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
