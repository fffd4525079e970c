"""ZDT1, a problem with a known front (Zitzler, Deb, Thiele 2000): an evaluator for evaluator.yaml.

One request per line on stdin, one answer per line on stdout; anything else goes to stderr.
"""
import json
import math
import sys

for line in sys.stdin:
    request = json.loads(line)
    x = list(request["values"].values())
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    f2 = g * (1 - math.sqrt(x[0] / g))
    answer = {"id": request["id"], "metrics": {"f1": x[0], "f2": f2, "g": g}}
    print(json.dumps(answer), flush=True)
