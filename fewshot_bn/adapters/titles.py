"""What each mode is, in one line."""

TITLES: dict[str, str] = {
    "proto": "nearest class mean of the frozen features (Snell et al. 2017)",
    "lr": "logistic regression on the frozen features, solved to the optimum; C chosen within the support set",
    "lr-c1": "the same as published for few-shot work, with C = 1 on raw features",
    "ridge": "ridge regression on the frozen features to one-hot targets, in closed form (Allen 1974)",
    "lda": "linear discriminant analysis with a shared covariance, shrunk (Ledoit and Wolf 2004)",
    "knn": "nearest neighbours among the frozen features (Cover and Hart 1967)",
    "svm": "scikit-learn's linear support vector machine (Chang and Lin 2011)",
    "cosine": "cosine classifier trained by SGD (Chen et al. 2019), as long as in CD-FSL (Guo et al. 2020)",
    "bn": "BatchNorm scales tuned under the solution of lr; then lr and ridge solved anew, averaged over views",
    "bn-plain": "BatchNorm scales and shifts and a linear head, tuned together by full-support steps of plain SGD",
    "bn23": "the recipe for 33 of the 53 BatchNorm layers of ResNet-50, as published (Yazdanpanah et al. 2022)",
    "bn-all": "the same on all BatchNorm layers, without weight decay, as in an independent implementation",
    "bn-cdfsl": "all BatchNorm layers, tuned with the length and batches of CD-FSL's fine-tuning (Guo et al. 2020)",
    "gn": "the recipe of bn on the GroupNorm layers of networks that have those",
    "ln": "the recipe of bn on the LayerNorm layers of networks that have those, such as ConvNeXt and ViT",
}
