# The number of samples for each work. Sourced by run.sh.
# shellcheck shell=bash disable=SC2034
warm_up=1000 small_rounds=10 small_block=25
check_count=30
count_1=40 count_100=30 count_500=10
first_count=15
start_count=30
crowd_rounds=5 crowd_ms=1000
settle=2
alice_count=40 at_once_rounds=6
tree_sizes='1 100 5000' tree_rounds=20
growth_first=10000 growth_rest=90000
