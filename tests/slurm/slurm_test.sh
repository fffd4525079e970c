#!/usr/bin/env bash
# scripts/slurm/search.sbatch on a Slurm of its own: one node, this machine, in a folder and on ports of its
# own, started here and ended here.
# Usage: slurm_test.sh <coppice> <slurm_study> <search.sbatch>     Exit code 77: cannot run here.
set -euo pipefail

coppice=$1
study=$2
script=$3
for program in slurmctld slurmd munged sbatch srun scontrol scancel; do
    if ! command -v "$program" >/dev/null; then
        echo "skipped: $program is not installed"
        exit 77
    fi
done
if [ "$(id -u)" -ne 0 ]; then
    echo "skipped: the daemons of Slurm start jobs of users, and want to be root"
    exit 77
fi

work=$(mktemp -d /tmp/coppice-slurm.XXXXXX) # a socket's path must be short
daemons=()
fail() {
    echo "FAILED: $*"
    tail -n 30 "$work"/slurmctld.log "$work"/slurmd.log "$work"/coppice-*.log 2>/dev/null || true
    exit 1
}
cleanup() {
    local waited=0
    scancel --user=root 2>/dev/null || true # of this Slurm
    while [ "$waited" -lt 100 ] && [ -n "$(squeue -h 2>/dev/null)" ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    local i
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        kill "${daemons[i]}" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$work" || { sleep 3 && rm -rf "$work"; } || true # the last step may still be ending
}
trap cleanup EXIT

# --- A Slurm --------------------------------------------------------------------------------------

host=$(hostname -s)
port=$((20000 + $$ % 20000))
mkdir "$work/state" "$work/spool"
head -c 1024 /dev/urandom >"$work/munge.key"
chmod 0400 "$work/munge.key"
cat >"$work/slurm.conf" <<END
ClusterName=coppice-test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.sock
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$work/slurm.conf
if ! srun --mpi=list 2>&1 | grep -qw pmix; then
    echo "skipped: this Slurm knows no pmix"
    exit 77
fi
munged --force -F --key-file="$work/munge.key" --socket="$work/munge.sock" \
    --pid-file="$work/munged.pid" --log-file="$work/munged.log" --seed-file="$work/munge.seed" \
    >/dev/null 2>&1 &
daemons+=($!)
until [ -S "$work/munge.sock" ]; do
    kill -0 "${daemons[0]}" 2>/dev/null || fail "munged does not start"
    sleep 0.1
done
slurmctld -D -i >/dev/null 2>&1 &
daemons+=($!)
slurmd -D >/dev/null 2>&1 &
daemons+=($!)

# until_so <seconds> <what> <command>...: waits until the command succeeds.
until_so() {
    local left=$(($1 * 5)) what=$2
    shift 2
    until "$@"; do
        [ "$left" -gt 0 ] || fail "waited for $what in vain"
        left=$((left - 1))
        sleep 0.2
    done
}
is_node_idle() { sinfo -h -o %T 2>/dev/null | grep -qx idle; }
until_so 60 "the node" is_node_idle

# --- Searches -------------------------------------------------------------------------------------

cd "$work"
"$study" make data
sed 's/rungs: .*/rungs: [12288, 24576]/' data/study.yaml >data/long.yaml
OMP_NUM_THREADS=1 "$coppice" search -q data/long.yaml -o one >/dev/null
"$study" figures one >one.figures

state_of() { scontrol -o show job "$1" | grep -o 'JobState=[A-Z]*' | cut -d= -f2; }
restarts_of() { scontrol -o show job "$1" | grep -o 'Restarts=[0-9]*' | cut -d= -f2; }
is_in_state() { [ "$(state_of "$1")" = "$2" ]; }
# A job that was put back waits for two minutes; it need not here. Slurm sets the time while the first run ends,
# so once may be too early.
has_ended() {
    local state
    state=$(state_of "$1")
    if [ "$state" = PENDING ]; then
        scontrol update JobId="$1" StartTime=now 2>/dev/null || true
    fi
    grep -qxE 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL' <<<"$state"
}
has_begun() { grep -q 'stage 0' "$1/log" 2>/dev/null; }
submit() { # study directory, ranks, options of sbatch
    local directory=$1 ranks=$2
    shift 2
    COPPICE=$coppice sbatch --parsable --gpus-per-node=0 --ntasks-per-node="$ranks" \
        --cpus-per-task=1 "$@" "$script" -q data/long.yaml -o "$directory"
}
must_complete() { # job
    until_so 120 "the end of job $1" has_ended "$1"
    is_in_state "$1" COMPLETED || fail "job $1 is $(state_of "$1")"
}
check() { # study directory
    "$study" figures "$1" >"$1.figures"
    cmp -s one.figures "$1.figures" || fail "$1: other figures than those of one process"
}

job=$(submit plain 2)
must_complete "$job"
check plain
job=$(COPPICE_LAUNCH="mpirun --enable-recovery --allow-run-as-root" submit launched 2)
must_complete "$job"
check launched
grep -q '^[^ ]* 2 processes' plain/log || fail "there were no 2 processes"

# Told that its time is over: saves, goes back into the queue, continues, ends.
job=$(submit signalled 3)
until_so 60 "the first stage" has_begun signalled
scancel --batch --signal=USR1 "$job"
is_back() { [ "$(restarts_of "$job")" -gt 0 ]; }
until_so 60 "job $job back in the queue" is_back
must_complete "$job"
check signalled
[ "$(restarts_of "$job")" -eq 1 ] || fail "job $job was put back more than once"
grep -q 'stopped; the same command continues' signalled/log || fail "the search did not stop"

# Requeued by force, as after the failure of a node: nobody could save.
job=$(submit forced 2)
until_so 60 "the first stage" has_begun forced
scontrol requeue "$job"
until_so 60 "job $job back in the queue" is_back
must_complete "$job"
check forced

# Cancelled in good order: saves, ends, and continues with other processes.
job=$(submit cancelled 2)
until_so 60 "the first stage" has_begun cancelled
scancel --batch --signal=TERM "$job"
must_complete "$job"
[ "$(restarts_of "$job")" -eq 0 ] || fail "job $job went back into the queue"
job=$(submit cancelled 3)
must_complete "$job"
check cancelled
echo "passed: figures under Slurm equal those of one process"
