"""Sweeps: the runs that a file or a figure asks for, planned as a graph of ordinary commands and carried out.

A wing of its own, since a sweep is five concepts: config, plan, job, status, and where jobs run (this machine, SLURM,
Ray). It calls the other rooms only as commands.
"""
