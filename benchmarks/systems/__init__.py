"""What is measured: each module is a program that runs one trial of a workload and prints its figures as one line of JSON."""
