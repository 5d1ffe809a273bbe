"""The items of the field's reporting checklists, each in a few words of our own; the wording that counts is theirs.

CLAIM 2024 (Tejani et al. 2024, Radiol Artif Intell 6:e240300), 44 items. TRIPOD+AI (Collins et al. 2024, BMJ
385:e078378), 27 items, 52 with their parts. STARD-AI (Sounderajah et al. 2025, Nat Med 31:3283), 40 items, 48 with
their parts.
"""

CLAIM, TRIPOD, STARD = "CLAIM 2024", "TRIPOD+AI", "STARD-AI"

_CLAIM = """
1 title|2 abstract|3 clinical background|4 objectives|5 prospective or retrospective|6 goal of the study
7 sources of data|8 who was included and excluded|9 preprocessing|10 selection of subsets|11 de-identification
12 missing data|13 acquisition|14 definition of the reference standard|15 why this reference standard|16 annotators
17 annotation of the test set|18 variability among annotators|19 assignment to partitions
20 level at which partitions are disjoint|21 intended sample size|22 the model|23 software|24 initialisation
25 training|26 choice of the final model|27 ensembling|28 metrics|29 uncertainty and significance|30 robustness
31 explainability|32 testing on internal data|33 testing on external data|34 registration of a trial
35 numbers included and excluded|36 patients of each partition|37 performance|38 accuracy with its precision
39 analysis of failures|40 limitations|41 implications for practice|42 full protocol
43 availability of software, model and data|44 funding
"""
_TRIPOD = """
1 title|2 abstract|3a context and rationale|3b target population, purpose and users|3c known inequalities|4 objectives
5a sources and representativeness|5b dates|6a setting|6b eligibility|6c treatments|7 preparation of data
8a outcome|8b assessors of the outcome|8c blinding of the outcome|9a choice of predictors|9b definition of predictors
9c assessors of predictors|10 sample size|11 missing data|12a use of the data|12b handling of predictors
12c model and its building|12d heterogeneity across clusters|12e measures of performance|12f updating
12g how predictions are made|13 class imbalance|14 fairness|15 output and thresholds
16 differences of development and evaluation|17 ethical approval|18a funding|18b conflicts of interest|18c protocol
18d registration|18e sharing of data|18f sharing of code|19 involvement of patients and public
20a flow of participants|20b characteristics|20c comparison with the development data|21 numbers in each analysis
22 full specification|23a performance with intervals|23b performance across clusters|24 results of updating
25 interpretation|26 limitations|27a poor or missing input|27b expertise of users|27c next steps
"""
_STARD = """
1 title|2 abstract|3 background and intended use|4 objectives|5 prospective or retrospective|6 ethical approval
7 eligibility|8 how participants were found|9 setting and dates|10 consecutive, random or convenience series
11 source of data|12 annotation|13 devices and software of capture|14 acquisition and preprocessing|15a index test
15b development of the index test|15c cut-offs of the index test|15d users and their expertise
16a reference standard|16b why this reference standard|16c cut-offs of the reference standard
17a blinding of the index test|17b blinding of the reference standard|18 statistical methods|19 indeterminate results
20 missing data|21 variability of accuracy|22 sample size|23 bias and fairness|24 flow diagram
25 characteristics of each set|26a severity of disease|26b alternative diagnoses|27 time between test and reference
28 representativeness of the test set|29 differences of external data|30 cross-tabulation|31 accuracy with its precision
32 adverse events|33 limitations|34 implications for practice|35 ethics and fairness of use|36 registration
37 full protocol|38 funding|39 commercial interests|40a availability of data and code|40b outputs kept for audit
"""


def _items(text: str) -> dict[str, str]:
    pairs = (item.split(" ", 1) for line in text.strip().splitlines() for item in line.split("|"))
    return dict(pairs)


CHECKLISTS = {CLAIM: _items(_CLAIM), TRIPOD: _items(_TRIPOD), STARD: _items(_STARD)}
