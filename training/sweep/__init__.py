"""Sweeps: from a file to runs, and runs onto cores, GPUs or machines.

`plan` reads a sweep file into specs, `check` finds what is wrong with them before anything starts,
`cost` says what they will take, `drive` hands them to a pool of workers (`local` or `cluster`), and
`state` says afterwards, or meanwhile, which run is where.
"""
