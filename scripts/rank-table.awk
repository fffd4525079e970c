#!/usr/bin/awk -f
# Rank agreement of a study's stages with its last: reads candidates.csv, prints a table (Markdown) of the
# finalists with their loss and rank among themselves after each stage, and Kendall's tau-b of each
# stage with the last, over the finalists.
BEGIN { FS = "," }

NR == 1 {
    for (i = 1; i <= NF; i++) {
        column[$i] = i
    }
    next
}

$column["loss"] != "" {
    stage = $column["stage"] + 0
    id = $column["id"]
    loss[id, stage] = $column["loss"] + 0
    tokens[stage] = $column["tokens"]
    params[id] = $column["params"]
    last = stage > last ? stage : last
    count[stage]++
    all[id] = 1
}

function tau(a, b,   i, j, x, y, agree, only_a, only_b, pairs) {
    agree = only_a = only_b = pairs = 0
    for (i = 1; i <= n; i++) {
        for (j = i + 1; j <= n; j++) {
            x = loss[final[i], a] - loss[final[j], a]
            y = loss[final[i], b] - loss[final[j], b]
            pairs++
            only_a += x == 0
            only_b += y == 0
            agree += (x * y > 0) - (x * y < 0)
        }
    }
    x = (pairs - only_a) * (pairs - only_b)
    return x > 0 ? agree / sqrt(x) : 0
}

function rank(id, s,   i, r) {
    r = 1
    for (i = 1; i <= n; i++) {
        r += loss[final[i], s] < loss[id, s]
    }
    return r
}

END {
    for (id in all) {
        if ((id, last) in loss) {
            final[++n] = id
        }
    }
    for (i = 2; i <= n; i++) { # by the last stage's loss
        for (j = i; j > 1 && loss[final[j], last] < loss[final[j - 1], last]; j--) {
            id = final[j]
            final[j] = final[j - 1]
            final[j - 1] = id
        }
    }
    printf "| finalist | params |"
    for (s = 0; s <= last; s++) {
        printf " stage %d: %s tokens |", s, tokens[s]
    }
    printf "\n|---|---|"
    for (s = 0; s <= last; s++) {
        printf "---|"
    }
    printf "\n"
    for (i = 1; i <= n; i++) {
        printf "| %s | %.4gM |", final[i], params[final[i]] / 1e6
        for (s = 0; s <= last; s++) {
            printf " %.4f (%d) |", loss[final[i], s], rank(final[i], s)
        }
        printf "\n"
    }
    printf "| candidates at this stage | |"
    for (s = 0; s <= last; s++) {
        printf " %d |", count[s]
    }
    printf "\n| tau-b with the last stage, %d finalists | |", n
    for (s = 0; s <= last; s++) {
        printf " %.2f |", tau(s, last)
    }
    printf "\n"
}
