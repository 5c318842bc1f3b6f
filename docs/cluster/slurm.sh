#!/usr/bin/env bash
# sbatch slurm.sh: starts Ray on all nodes of the job, runs the study on the first one, and ends Ray.
#SBATCH --job-name=nasbench-rec
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@120
set -euo pipefail

SHARED=${SHARED:?a folder that all nodes see, with the environment, the data and the store}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=6379

# `ray symmetric-run` calls `ray` by its name, and `ray stop` in the end: hence whole nodes.
export PATH="$SHARED/.venv/bin:$PATH"
# Seconds that nodes may take to join; the default of 30 is short where the environment lies on a slow disk.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
# One token for all nodes; the file is in the home folder, which Slurm's nodes usually share.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1
ray get-auth-token --generate > /dev/null

# The command after `--` runs on the head node once all nodes have joined; the job may be submitted again to continue.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
  ray symmetric-run --address "$HEAD:$PORT" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" -- \
  nasbench-rec study "${STUDY:-ihas-lambda-tau-k}" --engine "${ENGINE:-optuna}" \
  --address "$HEAD:$PORT" --workers $((SLURM_JOB_NUM_NODES * SLURM_CPUS_PER_TASK)) --threads 1 \
  --store "$SHARED/results" --data-dir "$SHARED/data" "$@"
