# A front for run.py, which does the work and also serves Windows: python run.py lab
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help lab test check lint book links slides site editions grade grading-report clean

help:
	@$(PYTHON) run.py

lab test check lint book links slides site editions grade grading-report clean:
	@$(PYTHON) run.py $@ $(ARGS)
